//! Rules that hold for the whole workspace.

mod edges;
mod licences;
mod size;
