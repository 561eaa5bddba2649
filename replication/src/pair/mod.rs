//! The pair: two nodes that hold the same volumes.
