"""Cron expressions are read as Kubeflow's backend reads them."""

import random
from datetime import datetime

import pytest
import stub_kfp

from pipeline.config.config import ConfigError
from pipeline.cron import Cron

FRIDAY = datetime(2026, 1, 2, 12, 30)


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("0 0 3 * * 1", datetime(2026, 1, 5, 3)),
        ("0 0 3 * * MON", datetime(2026, 1, 5, 3)),
        ("0 0 3 ? * mon-fri", datetime(2026, 1, 5, 3)),
        ("0 0 3 * * SUN", datetime(2026, 1, 4, 3)),
        ("*/20 * * * * *", datetime(2026, 1, 2, 12, 30, 20)),
        ("0 45/5 * * * *", datetime(2026, 1, 2, 12, 45)),
        ("0 10,40 12 * * *", datetime(2026, 1, 2, 12, 40)),
        ("0 0 0 29 FEB *", datetime(2028, 2, 29)),
        ("0 0 0-6/3 1 JAN,JUL *", datetime(2026, 7, 1)),
        # Both days given: either is enough.
        ("0 0 0 13 * 6", datetime(2026, 1, 3)),
        # One of them *: both must fit.
        ("0 0 0 */10 * 6", datetime(2026, 1, 31)),
        ("@daily", datetime(2026, 1, 3)),
        ("@weekly", datetime(2026, 1, 4)),
        ("@every 1h30m", datetime(2026, 1, 2, 14)),
    ],
)
def test_the_next_run(text, following):
    cron = Cron.parse(text)
    assert cron.next_after(FRIDAY) == following
    stub_kfp.check_cron(cron.text)


def test_five_fields_get_seconds_in_front():
    # Kubeflow would take them for seconds to month.
    assert Cron.parse("0 3 * * 1").text == "0 0 3 * * 1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 0 3 * * 7", "day of the week: found '7'; allowed: 0 to 6, or SUN to SAT"),
        ("0 0 24 * * *", "hours: found '24'; allowed: 0 to 23"),
        ("60 0 3 * * *", "seconds: found '60'; allowed: 0 to 59"),
        ("0 0 3 0 * *", "day of the month: found '0'; allowed: 1 to 31"),
        ("0 0 3 * JANUARY *", "month: found 'JANUARY'; allowed: 1 to 12, or JAN to DEC"),
        ("0 0 5-3 * * *", "hours: found '5-3'"),
        ("0 */0 3 * * *", "minutes: found '*/0'"),
        ("0 , 3 * * *", "minutes: found ','"),
        ("0 0 1-2-3 * * *", "hours: found '1-2-3'"),
        ("0 0 3 L * *", "day of the month: found 'L'"),
        ("0 0 3", "found 3 fields, wanted 6: seconds, minutes, hours"),
        ("", "found 0 fields, wanted 6"),
        ("@fortnightly", "unknown; allowed: @yearly"),
        ("@every soon", "wanted a duration"),
        ("0 0 0 30 2 *", "there is no such day"),
        ("TZ=Europe/Berlin 0 0 3 * * 1", "takes no time zone with a schedule"),
        ("CRON_TZ=Europe/Berlin 0 0 3 * * 1", "CRON_SCHEDULE_TIMEZONE"),
    ],
)
def test_what_is_wrong_is_named(text, told):
    with pytest.raises(ConfigError) as caught:
        Cron.parse(text)
    assert told in str(caught.value)


def test_kubeflow_takes_whatever_is_taken_here():
    chance = random.Random(0)
    pieces = [
        "*",
        "?",
        "*/2",
        "0",
        "7",
        "1-5",
        "5-1",
        "3/4",
        "1,2",
        "MON",
        "JAN-MAR",
        "31",
        "60",
        "-1",
        "x",
        ",,2",
        "/3",
    ]
    taken = 0
    for _ in range(3000):
        text = " ".join(chance.choice(pieces) for _ in range(chance.choice([5, 6, 6, 6, 7])))
        try:
            cron = Cron.parse(text)
        except ConfigError:
            continue
        stub_kfp.check_cron(cron.text)
        taken += 1
    assert taken > 50
