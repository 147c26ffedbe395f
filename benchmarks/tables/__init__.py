"""All trainings behind the tables of the results pages, as a list that can be stopped and resumed anywhere."""
