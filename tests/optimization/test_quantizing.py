"""Real models made smaller: what becomes of their files, their answers and their signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization import quantizing
from modelyard.optimization.jobs import Calibration, Method, Metric, Quantize, Quantized, Rows
from modelyard.runtime.errors import LoadFailure
from tests.optimization import making


def quantized(source: Path, method: Method, **more: Any) -> tuple[Quantized, Path]:
    to = source.parent / "made" / source.name
    to.parent.mkdir(exist_ok=True)
    job = Quantize(source=str(source), to=str(to), method=method, seconds=0.05, **more)
    return quantizing.quantize(job, lambda words: None), to


def refusal(source: Path, method: Method, **more: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        quantized(source, method, **more)
    (problem,) = refused.value.problems
    return problem.code, problem.message


def rows(path: Path, *shape: int, name: str = "x") -> str:
    np.savez(path, **{name: np.random.default_rng(1).standard_normal(shape).astype(np.float32)})
    return str(path)


def ends(path: Path) -> list[tuple[str, str]]:
    session = ort.InferenceSession(path)
    return [(end.name, end.type) for end in (*session.get_inputs(), *session.get_outputs())]


@pytest.mark.parametrize("method", list(Method))
def test_a_network_is_smaller_and_answers_nearly_alike(tmp_path: Path, method: Method) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    done, made = quantized(source, method, calibration=rows(tmp_path / "rows.npz", 100, 64), metric=Metric.COSINE)
    assert sum(done.quantized.values()) == 2
    assert done.skipped == []
    assert done.size == made.stat().st_size < done.size_before * (0.6 if method is Method.FP16 else 0.4)
    assert (done.score.of, done.score.rows) == (Rows.CALIBRATION, 100)
    assert 0 <= done.score.drop < 0.001
    assert done.latency.p95 >= done.latency.p50 > 0
    assert ends(made) == ends(source), "fp16 too takes and gives 32 bits"
    assert not list(source.parent.glob("*inferred*")), "nothing is left beside the original"


@pytest.mark.parametrize("method", list(Method))
def test_weights_that_lie_beside_a_model_do_so_afterwards(tmp_path: Path, method: Method) -> None:
    source = making.saved(making.dense(256), tmp_path / "net.onnx", apart=True)
    done, made = quantized(source, method, calibration=rows(tmp_path / "rows.npz", 64, 256))
    assert sorted(path.name for path in made.parent.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert made.stat().st_size < 8192
    assert done.size == sum(path.stat().st_size for path in made.parent.iterdir())
    assert done.size < done.size_before * 0.6


def test_shapes_that_cannot_be_inferred_leave_nothing_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"w": np.eye(64, dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        # Symbolic inference does not know it.
        helper.make_node("Normalizer", ["h"], ["n"], domain="ai.onnx.ml", norm="L2"),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    model = making.model_of(nodes, ["n", 64], ["n", 64], weights)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    source = making.saved(model, tmp_path / "net.onnx")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done, _ = quantized(source, Method.DYNAMIC_INT8)
    assert done.quantized == {"MatMulInteger": 2}
    assert (Path.cwd(), list(Path.cwd().iterdir())) == (tmp_path / "here", [])


@pytest.mark.parametrize("method", [Method.DYNAMIC_INT8, Method.FP16])
def test_files_in_the_current_folder_are_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    source = making.saved(making.dense(256), tmp_path / "net.onnx", apart=True)
    monkeypatch.chdir(tmp_path)
    _, made = quantized(source, method)
    assert made.with_name("net.onnx.data").is_file()


def test_convolutions_take_measured_ranges(tmp_path: Path) -> None:
    source = making.saved(making.convolution(), tmp_path / "net.onnx")
    done, made = quantized(source, Method.STATIC_INT8, calibration=rows(tmp_path / "rows.npz", 50, 1, 8, 8))
    assert done.quantized == {"Conv": 1, "Gemm": 1}
    per_channel = [t for t in onnx.load(made).graph.initializer if t.name.endswith("_scale") and list(t.dims) == [8]]
    assert per_channel, "each of the 8 channels has a scale of its own"
    done, _ = quantized(source, Method.DYNAMIC_INT8)
    assert (done.quantized, done.skipped) == ({"MatMulInteger": 1}, ["Conv conv"])
    assert done.score.of is Rows.RANDOM
    code, message = refusal(making.saved(making.only_convolution(), tmp_path / "conv.onnx"), Method.DYNAMIC_INT8)
    assert (code, "static-int8 with --calibration" in message) == ("not_quantizable", True)


@pytest.mark.parametrize("method", [Calibration.ENTROPY, Calibration.PERCENTILE])
def test_ranges_may_leave_out_what_is_rare(tmp_path: Path, method: Calibration) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    given = rows(tmp_path / "rows.npz", 45, 64)
    done, _ = quantized(source, Method.STATIC_INT8, calibration=given, calibration_method=method)
    assert done.quantized == {"MatMul": 1, "Gemm": 1}


def test_a_model_of_an_old_opset_is_brought_to_one_that_has_what_is_needed(tmp_path: Path) -> None:
    done, _ = quantized(making.saved(making.dense(opset=9), tmp_path / "net.onnx"), Method.DYNAMIC_INT8)
    assert (done.opset_before, done.opset) == (9, 13)


def test_nodes_that_are_excluded_stay_as_they_are(tmp_path: Path) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    given = rows(tmp_path / "rows.npz", 32, 64)
    done, _ = quantized(source, Method.STATIC_INT8, calibration=given, exclude=["second"])
    assert (done.quantized, done.skipped) == ({"MatMul": 1}, ["Gemm second"])
    done, _ = quantized(source, Method.FP16, exclude=["first"])
    assert (done.quantized, done.skipped) == ({"Gemm": 1}, ["MatMul first"])
    assert refusal(source, Method.FP16, exclude=["third"])[0] == "unknown_node"


def test_accuracy_is_measured_on_labelled_rows(tmp_path: Path) -> None:
    source = making.digits_network(tmp_path / "net.onnx")
    labelled = making.rows_in(tmp_path / "labelled.npz")
    done, _ = quantized(source, Method.DYNAMIC_INT8, evaluation=str(labelled))
    x, y = making.digits()
    truth = float(making.trained("mlp").score(x[1000:1256], y[1000:1256]))
    assert (done.score.metric, done.score.rows) == (Metric.ACCURACY, 256)
    assert done.score.before == pytest.approx(truth, abs=0.005)
    assert done.score.drop == pytest.approx(done.score.before - done.score.after)


def test_a_converted_classifier_keeps_its_accuracy_with_measured_ranges(tmp_path: Path) -> None:
    source = making.digits_network(tmp_path / "net.onnx")
    rows, labelled = making.rows_in(tmp_path / "rows.npz", labels=False), making.rows_in(tmp_path / "labelled.npz")
    done, _ = quantized(source, Method.STATIC_INT8, calibration=str(rows), evaluation=str(labelled))
    assert sum(done.quantized.values()) == 2
    assert done.score.metric is Metric.ACCURACY
    assert done.score.drop < 0.03


def test_embeddings_recurrent_layers_and_branches_are_quantized_too(tmp_path: Path) -> None:
    source = making.saved(making.sequence(), tmp_path / "sequence.onnx")
    done, _ = quantized(source, Method.DYNAMIC_INT8)
    assert done.quantized == {"DynamicQuantizeLSTM": 1, "Gather": 1}
    source = making.saved(making.branches(), tmp_path / "branches.onnx")
    assert quantized(source, Method.DYNAMIC_INT8)[0].quantized == {"MatMulInteger": 2}
    assert quantized(source, Method.FP16)[0].quantized["MatMul"] == 2
    code, message = refusal(source, Method.STATIC_INT8, calibration=rows(tmp_path / "rows.npz", 8, 64))
    assert (code, "outside of branches and loops" in message) == ("not_quantizable", True)


def test_what_cannot_be_quantized_says_why(tmp_path: Path) -> None:
    ml = helper.make_opsetid("ai.onnx.ml", 3)
    scaler = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    classic = making.model_of([scaler], ["n", 4], ["n", 4], {})
    classic.opset_import.append(ml)
    source = making.saved(classic, tmp_path / "classic.onnx")
    for method in Method:
        code, message = refusal(source, method, calibration=rows(tmp_path / "rows.npz", 8, 4))
        assert (code, "its operators are 1 Scaler. Classical models" in message) == ("not_quantizable", True)
    variable = helper.make_node("MatMul", ["x", "x"], ["y"])
    source = making.saved(making.model_of([variable], [4, 4], [4, 4], {}), tmp_path / "variable.onnx")
    assert "constant weights" in refusal(source, Method.DYNAMIC_INT8)[1]
    _, made = quantized(making.saved(making.dense(), tmp_path / "net.onnx"), Method.DYNAMIC_INT8)
    assert refusal(made, Method.FP16)[0] == "quantized_already"


def test_files_and_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"not a model")
    with pytest.raises((InvalidRequest, LoadFailure)):
        quantized(tmp_path / "no.onnx", Method.FP16)
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    assert refusal(source, Method.STATIC_INT8)[0] == "required"
    assert refusal(source, Method.STATIC_INT8, calibration=rows(tmp_path / "a.npz", 8, 63))[0] == "wrong_shape"
    with pytest.raises(InvalidRequest, match=r"evaluation\.x: The model takes 'x'"):
        quantized(source, Method.DYNAMIC_INT8, evaluation=rows(tmp_path / "b.npz", 8, 64, name="z"))
    alone = making.saved(making.dense(256), tmp_path / "apart.onnx", apart=True)
    (tmp_path / "apart.onnx.data").unlink()
    with pytest.raises(LoadFailure, match="not beside it"):
        quantized(alone, Method.FP16)


def test_weights_beyond_16_bits_show_in_the_measure(tmp_path: Path) -> None:
    source = making.saved(making.dense(scale=1e7), tmp_path / "net.onnx")
    done, _ = quantized(source, Method.FP16)
    assert done.score.metric is Metric.COSINE
    assert done.score.drop > 0.01


def test_tensors_keep_their_types_at_the_borders(tmp_path: Path) -> None:
    _, made = quantized(making.digits_network(tmp_path / "net.onnx"), Method.FP16)
    types = {output.name: output.type.tensor_type.elem_type for output in onnx.load(made).graph.output}
    assert TensorProto.FLOAT in types.values()
    assert TensorProto.FLOAT16 not in types.values()
    onnx.checker.check_model(onnx.load(made))
