//! Promises, kept on the real programs.
