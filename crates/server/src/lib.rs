//! What both storage programs share: listeners, sessions, volumes.
