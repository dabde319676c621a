import pytest
from pydantic import ValidationError

from tierbus.batch.rules import BatchRules, lane_of, leave_at, may_wait
from tierbus.contracts import Priority, Tier

NOW = 1_800_000_000.0
RULES = BatchRules(min_slack_s=7200)


@pytest.mark.parametrize(
    ("rules", "priority", "slack_s", "expected"),
    [
        (RULES, Priority.LOW, 7200.0, True),
        (RULES, Priority.LOW, 7199.0, False),
        (RULES, Priority.NORMAL, 86400.0, False),
        (RULES, Priority.HIGH, 86400.0, False),
        (None, Priority.LOW, 86400.0, False),
    ],
)
def test_only_low_priority_with_a_far_deadline_may_wait(
    rules: BatchRules | None, priority: Priority, slack_s: float, expected: bool
) -> None:
    assert may_wait(rules, priority, NOW + slack_s, NOW) is expected


def test_a_step_stops_waiting_while_there_is_time_to_do_it_the_normal_way() -> None:
    assert leave_at(RULES, NOW + 7200) == NOW + 7200 - 1800


def test_rules_by_which_a_step_would_leave_before_its_batch_is_sent_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_slack_s 1000 is less than max_wait_s 600 and leave_slack_s 1800"):
        BatchRules(min_slack_s=1000)


def test_more_requests_than_can_be_written_down_are_refused() -> None:
    with pytest.raises(ValidationError, match="2001"):
        BatchRules(max_requests=2001)


def test_a_lane_is_one_subject_token_of_its_own_for_each_tier_and_rule() -> None:
    lanes = {
        lane_of(RULES, Tier.SMALL),
        lane_of(RULES, Tier.MID),
        lane_of(BatchRules(max_wait_s=0.5), Tier.SMALL),
        lane_of(BatchRules(max_requests=7), Tier.SMALL),
    }

    assert lanes == {"small-600000-500", "mid-600000-500", "small-500-500", "small-600000-7"}
