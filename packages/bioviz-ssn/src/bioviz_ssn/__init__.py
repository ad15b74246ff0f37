"""bioviz-ssn."""
