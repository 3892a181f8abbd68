"""The platform on AWS, in a region of the United Arab Emirates."""
