"""Who goes first."""

import threading

from saetui.engine.traffic import Lane, Traffic


def test_slower_lanes_wait_until_faster_ones_are_empty():
    traffic = Traffic()
    order: list[str] = []

    def wait(lane: Lane, name: str) -> threading.Thread:
        def body() -> None:
            traffic.give_way(lane)
            order.append(name)

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    with traffic.on(Lane.QUERY):
        with traffic.on(Lane.QUERY):
            job, background = wait(Lane.JOB, "job"), wait(Lane.BACKGROUND, "background")
            traffic.give_way(Lane.QUERY)  # the fastest lane never waits
        job.join(0.05)
        assert job.is_alive() and background.is_alive(), "one query is still under way"
        with traffic.on(Lane.JOB):
            order.append("query done")
    job.join(5)
    background.join(5)
    assert order[0] == "query done" and sorted(order[1:]) == ["background", "job"]


def test_background_waits_for_jobs_and_jobs_do_not_wait_for_each_other():
    traffic = Traffic()
    done = threading.Event()
    with traffic.on(Lane.JOB):
        traffic.give_way(Lane.JOB)
        thread = threading.Thread(target=lambda: (traffic.give_way(Lane.BACKGROUND), done.set()))
        thread.start()
        assert not done.wait(0.05)
    assert done.wait(5)
    thread.join()
