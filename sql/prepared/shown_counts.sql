-- By split and task: samples with and without candidates of the protocol shown, and the median length of the lists.
select
    s.split,
    s.task,
    count(l.sample_id) as samples,
    count(*) - count(l.sample_id) as without_impressions,
    median(len(l.item_idx)) as median_negatives
from samples as s
left join shown_lists as l using (split, sample_id)
where s.split <> 'train'
group by s.split, s.task
order by s.split, s.task
