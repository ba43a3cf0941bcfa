"""The backend that the benchmarks pretend with keeps the contract of the real ones."""

from __future__ import annotations

import pytest
from bench.simulated import SimulatedBackend

from modelyard.domain.capacity import Device, Inventory
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import Engine, Resources, Spec
from tests.backends.contract import BackendContract


class TestSimulatedBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> SimulatedBackend:
        devices = tuple(Device(id=str(n)) for n in range(2))
        return SimulatedBackend(Inventory(cpu=8, memory=2**36, devices=devices), start_takes=0.01, stop_takes=0.01)

    @pytest.fixture
    def ref(self) -> ModelRef:
        return ModelRef("uid", "default", "m")

    @pytest.fixture
    def spec(self) -> Spec:
        return Spec(engine=Engine.MOCK, resources=Resources(cpu=0.5, memory=2**28))
