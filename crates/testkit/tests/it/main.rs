//! Rules that hold for the whole workspace.

mod documents;
mod edges;
mod licences;
mod size;
