"""Functions that run at once, each in a thread."""

import threading


def in_threads(works):
    """Run functions at once, each in a thread, and raise what one raised."""
    errors = []
    start = threading.Barrier(len(works))

    def guarded(work):
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
