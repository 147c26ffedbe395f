"""All tables of the results pages as a list of trainings that can be stopped and taken up anywhere."""
