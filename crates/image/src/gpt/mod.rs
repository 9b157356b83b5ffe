//! MBR and GPT partition tables.
