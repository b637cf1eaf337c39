//! Config: YAML in, validated meaning out.
