"""``python -m modelyard.optimization``: one job. See :mod:`modelyard.optimization.running`."""

from __future__ import annotations

import os
import sys
import threading
from typing import IO, Any

import msgspec

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization import jobs
from modelyard.runtime.errors import LoadFailure, RequestError, is_out_of_memory


def main() -> None:
    """Answers on stdout; whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_asker, daemon=True).start()

    def tell(words: str) -> None:
        _write(answers, jobs.Told(words=words))

    try:
        result = _done(msgspec.json.decode(line, type=jobs.JOBS), tell)
    except InvalidRequest as error:
        faults = [jobs.Fault(path=p.path, code=p.code, message=p.message) for p in error.problems]
    except LoadFailure as error:
        faults = [jobs.Fault(path="model", code=error.code, message=error.message)]
    except RequestError as error:
        faults = [jobs.Fault(path="data", code=error.code, message=error.detail)]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = "There is not enough memory for it on this machine."
        faults = [jobs.Fault(path="", code="out_of_memory", message=message)]
    else:
        _write(answers, jobs.Told(result=result))
        return
    _write(answers, jobs.Told(faults=faults))


def _done(job: jobs.JOBS, tell: Any) -> object:
    # What one job needs the others do not import.
    if isinstance(job, jobs.Quantize):
        from modelyard.optimization.quantizing import quantize

        return quantize(job, tell)
    if isinstance(job, jobs.Convert):
        from modelyard.optimization.converting import convert

        return convert(job, tell)
    from modelyard.optimization.measuring import measure

    return measure(job)


def _end_with_asker() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _write(answers: IO[bytes], told: jobs.Told) -> None:
    answers.write(msgspec.json.encode(told) + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
