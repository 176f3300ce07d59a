//! The mutating admission webhook and the pure injection it shares with `bindery inject`.
