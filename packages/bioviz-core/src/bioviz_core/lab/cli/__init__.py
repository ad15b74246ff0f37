"""The bioviz command: one file per verb."""
