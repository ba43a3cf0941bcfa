"""tritonclient[grpc] against Modelyard; run in the environment of the official clients."""

import queue

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from checking import main, raises, raises_async
from triton_tensors import check_equal, inputs, numbers
from tritonclient.utils import InferenceServerException


class _Token(triton.InferenceServerClientPlugin):
    def __init__(self, token):
        self._token = token

    def __call__(self, request):
        request.headers["authorization"] = f"Bearer {self._token}"


def _client(server):
    client = triton.InferenceServerClient(server.grpc)
    client.register_plugin(_Token(server.token))
    return client


def health_and_metadata(server):
    with _client(server) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("simple")
        raises(InferenceServerException, client.is_model_ready, "none")
        assert client.get_server_metadata().name == "modelyard"
        metadata = client.get_model_metadata("simple")
        assert (metadata.inputs[0].name, list(metadata.inputs[0].shape)) == ("INPUT0", [-1, 2])


def every_datatype(server):
    with _client(server) as client:
        tensors, arrays = inputs(triton)
        outputs = [triton.InferRequestedOutput(name) for name in arrays]
        check_equal(client.infer("echo", tensors, outputs=outputs), arrays)


def ids_versions_and_large_tensors(server):
    with _client(server) as client:
        many = np.arange(2_000_000, dtype=np.int32).reshape(-1, 2)
        result = client.infer("simple", numbers(triton, many, many), request_id="mine", model_version="1")
        assert (result.as_numpy("OUTPUT0") == many * 2).all()
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("mine", "simple", "1")


def wrong_requests_raise_with_our_words(server):
    with _client(server) as client:
        error = raises(InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2, 3]], [[1, 2]]))
        assert "Input 'INPUT0' has shape [-1, 2], not [1, 3]" in error.message(), error
        assert error.status() == "StatusCode.INVALID_ARGUMENT"
        error = raises(InferenceServerException, client.infer, "none", numbers(triton, [[1, 2]], [[1, 2]]))
        assert error.status() == "StatusCode.NOT_FOUND"
    with triton.InferenceServerClient(server.grpc) as client:
        error = raises(InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2]], [[1, 2]]))
        assert error.status() == "StatusCode.UNAUTHENTICATED"


def compressed_requests_and_deadlines(server):
    with _client(server) as client:
        for algorithm in ("gzip", "deflate"):
            result = client.infer("simple", numbers(triton, [[1, 2]], [[3, 4]]), compression_algorithm=algorithm)
            assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        error = raises(
            InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2]], [[1, 2]]),
            parameters={"sleep": "1"}, client_timeout=0.3,
        )  # fmt: skip
        assert "Deadline" in error.message() or error.status() == "StatusCode.DEADLINE_EXCEEDED", error


def callbacks_and_streams(server):
    with _client(server) as client:
        answers = queue.Queue()
        tensors = numbers(triton, [[1, 2]], [[3, 4]])
        client.async_infer("simple", tensors, lambda result, error: answers.put((result, error)))
        result, error = answers.get(timeout=10)
        assert error is None
        assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        headers = {"authorization": f"Bearer {server.token}"}
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for n in range(5):
            client.async_stream_infer("simple", numbers(triton, [[n, n]], [[1, 1]]))
        client.async_stream_infer("none", numbers(triton, [[1, 1]], [[1, 1]]))
        got = [answers.get(timeout=10) for _ in range(6)]
        client.stop_stream()
        assert [result.as_numpy("OUTPUT0").tolist() for result, _ in got[:5]] == [[[n + 1, n + 1]] for n in range(5)]
        assert "has no model 'none'" in got[5][1].message()


def the_repository(server):
    with _client(server) as client:
        states = {model.name: model.state for model in client.get_model_repository_index().models}
        assert states == {"echo": "READY", "rows": "READY", "simple": "READY"}
        client.unload_model("rows")
        states = {model.name: model.state for model in client.get_model_repository_index().models}
        assert states["rows"] == "UNAVAILABLE"
        assert not client.is_model_ready("rows")
        client.load_model("rows")
        assert client.is_model_ready("rows")
        error = raises(InferenceServerException, client.load_model, "rows", config="{}")
        assert "takes no parameter 'config'" in error.message(), error


async def the_asynchronous_client(server):
    async with triton_aio.InferenceServerClient(server.grpc) as client:
        headers = {"authorization": f"Bearer {server.token}"}
        assert await client.is_model_ready("simple", headers=headers)
        result = await client.infer("simple", numbers(triton_aio, [[1, 2]], [[3, 4]]), headers=headers)
        assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        wrong = client.infer("simple", numbers(triton_aio, [[1]], [[3]]), headers=headers)
        assert "has shape" in (await raises_async(InferenceServerException, wrong)).message()


if __name__ == "__main__":
    main()
