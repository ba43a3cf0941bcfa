"""KServe's inference clients (REST with V1 and V2, gRPC) against Modelyard; run in their own environment."""

import httpx
import numpy as np
from checking import main, raises_async
from grpc import RpcError, StatusCode
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

_FIRST = np.array([[1, 2]], np.int32)
_SECOND = np.array([[3, 4]], np.int32)


def _rest(protocol):
    return InferenceRESTClient(RESTConfig(protocol=protocol, retries=0))


def _headers(server):
    return {"Authorization": f"Bearer {server.token}"}


def _request(*, binary, **options):
    inputs = []
    for name, array in (("INPUT0", _FIRST), ("INPUT1", _SECOND)):
        inputs.append(InferInput(name, list(array.shape), "INT32"))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    return InferRequest("simple", inputs, request_id="mine", **options)


def _values(response):
    return {output.name: np.array(output.as_numpy()).tolist() for output in response.outputs}


async def v1_predictions(server):
    client, base, headers = _rest("v1"), f"http://{server.http}", _headers(server)
    answer = await client.infer(base, {"instances": [[1, 2, 3], [4, 5, 6]]}, model_name="rows", headers=headers)
    assert answer == {"predictions": [6.0, 15.0]}
    answer = await client.infer(base, {"inputs": [[1, 2, 3]]}, model_name="rows", headers=headers)
    assert answer == {"predictions": [6.0]}
    rows = [{"INPUT0": [1, 2], "INPUT1": [3, 4]}]
    answer = await client.infer(base, {"instances": rows}, model_name="simple", headers=headers)
    assert answer == {"predictions": [{"OUTPUT0": [4, 6], "OUTPUT1": [-2, -2]}]}
    assert await client.is_model_ready(base, "rows", headers=headers)


async def v1_faults_raise(server):
    client, base, headers = _rest("v1"), f"http://{server.http}", _headers(server)
    wrong = client.infer(base, {"instances": [[1, 2, 3], [4]]}, model_name="rows", headers=headers)
    error = await raises_async(httpx.HTTPStatusError, wrong)
    assert error.response.status_code == 422
    assert error.response.json()["error"].startswith("instances[1]: Input 'x' has shape [3] a row, not [1]")
    missing = client.infer(base, {"instances": [1]}, model_name="none", headers=headers)
    assert (await raises_async(httpx.HTTPStatusError, missing)).response.status_code == 404


async def v2_in_json_and_in_binary_form(server):
    client, base, headers = _rest("v2"), f"http://{server.http}", _headers(server)
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, "simple", headers=headers)
    assert not await client.is_model_ready(base, "none", headers=headers)
    for binary in (False, True):
        for outputs in (False, True):
            request = _request(binary=binary, parameters={"binary_data_output": outputs})
            response = await client.infer(base, request, model_name="simple", headers=dict(headers))
            assert _values(response) == {"OUTPUT0": [[4, 6]], "OUTPUT1": [[-2, -2]]}
            assert response.id == "mine"


async def v2_over_grpc(server):
    client = InferenceGRPCClient(server.grpc)
    headers = (("authorization", f"Bearer {server.token}"),)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("simple", headers=headers)
    missing = await raises_async(RpcError, client.is_model_ready("none", headers=headers))
    assert missing.code() is StatusCode.NOT_FOUND
    for binary in (False, True):
        response = await client.infer(_request(binary=binary), headers=headers)
        assert _values(response) == {"OUTPUT0": [[4, 6]], "OUTPUT1": [[-2, -2]]}
    wrong = InferRequest("simple", [InferInput("INPUT0", [1, 1], "INT32", [1])])
    error = await raises_async(RpcError, client.infer(wrong, headers=headers))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert "Input 'INPUT0' has shape [-1, 2], not [1, 1]" in error.details()
    await client.close()


async def v2_deadlines_over_grpc(server):
    client = InferenceGRPCClient(server.grpc, retries=0)
    request = _request(binary=True, parameters={"sleep": "1"})
    headers = (("authorization", f"Bearer {server.token}"),)
    error = await raises_async(RpcError, client.infer(request, timeout=0.3, headers=headers))
    assert error.code() is StatusCode.DEADLINE_EXCEEDED
    await client.close()


if __name__ == "__main__":
    main()
