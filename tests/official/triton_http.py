"""tritonclient[http] against Modelyard; run in the environment of the official clients."""

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from checking import main, raises, raises_async
from triton_tensors import check_equal, inputs, numbers
from tritonclient.utils import InferenceServerException


def _client(server, **options):
    client = triton.InferenceServerClient(server.http, **options)
    client.register_plugin(_Token(server.token))
    return client


class _Token(triton.InferenceServerClientPlugin):
    def __init__(self, token):
        self._token = token

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self._token}"


def health_and_metadata(server):
    with _client(server) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("simple")
        assert not client.is_model_ready("none")
        assert client.get_server_metadata()["name"] == "modelyard"
        metadata = client.get_model_metadata("simple")
        assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 2]}


def every_datatype_in_binary_form(server):
    with _client(server) as client:
        tensors, arrays = inputs(triton, binary_data=True)
        outputs = [triton.InferRequestedOutput(name, binary_data=True) for name in arrays]
        check_equal(client.infer("echo", tensors, outputs=outputs), arrays)


def every_datatype_that_json_has_in_json(server):
    with _client(server) as client:
        tensors, arrays = inputs(triton, binary_data=False)
        outputs = [triton.InferRequestedOutput(name, binary_data=name == "fp16") for name in arrays]
        check_equal(client.infer("echo", tensors, outputs=outputs), arrays)


def outputs_that_are_not_named_come_as_the_client_asks(server):
    with _client(server) as client:
        result = client.infer("simple", numbers(triton, [[1, 2]], [[3, 4]]), request_id="mine", model_version="1")
        assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        assert result.as_numpy("OUTPUT1").tolist() == [[-2, -2]]
        response = result.get_response()
        assert (response["id"], response["model_name"], response["model_version"]) == ("mine", "simple", "1")


def empty_and_large_tensors(server):
    with _client(server) as client:
        none = np.zeros((0, 2), np.int32)
        result = client.infer("simple", numbers(triton, none, none))
        assert result.as_numpy("OUTPUT0").shape == (0, 2)
        many = np.arange(2_000_000, dtype=np.int32).reshape(-1, 2)
        result = client.infer("simple", numbers(triton, many, many))
        assert (result.as_numpy("OUTPUT0") == many * 2).all()


def wrong_requests_raise_with_our_words(server):
    with _client(server) as client:
        error = raises(InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2, 3]], [[1, 2]]))
        assert "Input 'INPUT0' has shape [-1, 2], not [1, 3]" in error.message(), error
        error = raises(InferenceServerException, client.infer, "none", numbers(triton, [[1, 2]], [[1, 2]]))
        assert "has no model 'none'" in error.message(), error
        error = raises(InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2]], [[1, 2]])[:1])
        assert "Input 'INPUT1'" in error.message(), error
        error = raises(InferenceServerException, client.get_model_metadata, "simple", model_version="7")
        assert "not '7'" in error.message(), error


def without_a_token_nothing_is_told(server):
    with triton.InferenceServerClient(server.http) as client:
        assert client.is_server_live()
        error = raises(InferenceServerException, client.infer, "simple", numbers(triton, [[1, 2]], [[1, 2]]))
        assert "Authorization: Bearer" in error.message(), error
        assert client.get_model_repository_index() == []


def compressed_requests(server):
    with _client(server) as client:
        for encoding in ("gzip", "deflate"):
            for binary in (True, False):
                result = client.infer(
                    "simple", numbers(triton, [[1, 2]], [[3, 4]], binary_data=binary),
                    request_compression_algorithm=encoding, response_compression_algorithm="gzip",
                )  # fmt: skip
                assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        # 40 MB of nothing inflate to more than the model's 16 MiB.
        zeros = np.zeros((5_000_000, 2), np.int32)
        error = raises(
            InferenceServerException, client.infer, "simple", numbers(triton, zeros, zeros),
            request_compression_algorithm="gzip",
        )  # fmt: skip
        assert "when it is inflated" in error.message(), error


def many_at_once(server):
    with _client(server, concurrency=8) as client:
        asked = [client.async_infer("simple", numbers(triton, [[n, n]], [[1, 1]])) for n in range(40)]
        assert [request.get_result().as_numpy("OUTPUT0").tolist() for request in asked] == [
            [[n + 1, n + 1]] for n in range(40)
        ]


def a_client_that_waits_less_than_the_model_takes(server):
    with _client(server, network_timeout=0.3) as client:
        raises(Exception, client.infer, "simple", numbers(triton, [[1, 2]], [[1, 2]]), parameters={"sleep": 1.0})
    with _client(server) as client:
        assert client.infer("simple", numbers(triton, [[1, 2]], [[1, 2]]), parameters={"sleep": 0.0})


def the_repository(server):
    with _client(server) as client:
        states = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
        assert states == {"echo": "READY", "rows": "READY", "simple": "READY"}
        client.unload_model("rows")
        index = {entry["name"]: entry for entry in client.get_model_repository_index()}
        assert index["rows"]["state"] == "UNAVAILABLE"
        assert "is stopped" in index["rows"]["reason"]
        assert not client.is_model_ready("rows")
        client.unload_model("rows")
        client.load_model("rows")
        assert client.is_model_ready("rows")
        client.load_model("rows")
        error = raises(InferenceServerException, client.load_model, "rows", config="{}")
        assert "takes no parameter 'config'" in error.message(), error
        raises(InferenceServerException, client.load_model, "none")


async def the_asynchronous_client(server):
    async with triton_aio.InferenceServerClient(server.http) as client:
        headers = {"Authorization": f"Bearer {server.token}"}
        assert await client.is_model_ready("simple", headers=headers)
        result = await client.infer("simple", numbers(triton_aio, [[1, 2]], [[3, 4]]), headers=headers)
        assert result.as_numpy("OUTPUT0").tolist() == [[4, 6]]
        wrong = client.infer("simple", numbers(triton_aio, [[1]], [[3]]), headers=headers)
        assert "has shape" in (await raises_async(InferenceServerException, wrong)).message()


if __name__ == "__main__":
    main()
