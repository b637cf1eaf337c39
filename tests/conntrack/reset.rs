//! What both ends of a data connection see when it is reset.
