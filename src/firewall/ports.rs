//! Ports: which port an entrance gets.
