"""What is measured, what raises an alert and what is drawn, wherever the platform runs."""
