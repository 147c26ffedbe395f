select *
from interactions
