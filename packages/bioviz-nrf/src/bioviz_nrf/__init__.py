"""bioviz-nrf."""
