//! What bindery is told: the broker's configuration, from its file or from the environment of seed 002's broker.
