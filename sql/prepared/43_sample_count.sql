select count(*) as samples
from numbered_samples
