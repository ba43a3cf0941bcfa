"""The installation itself: its version and address, its sites, and the settings that it was started with."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class SiteLease(BaseModel):
    """A home on a machine, and whether a control process drives what runs there."""

    site: str
    machine: str
    home: str
    url: str
    answers: bool = Field(description="It is the one of the control process that answers.")
    driven: bool = Field(description="A control process holds its lease.")
    process: int | None = Field(description="That one's process id; null: nobody holds it.")
    token: int = Field(description="One higher with each that has taken it.")
    down: bool = Field(description="It was taken down on purpose.")
    seen_at: datetime = Field(description="When a holder was last heard of.")


class Setting(BaseModel):
    """What is set outside: in the environment, modelyard.toml or flags. It is read when Modelyard starts."""

    name: str = Field(examples=["MODELYARD_PUBLIC_URL"])
    value: str = Field(description="Empty where it is hidden, or nothing.")
    hidden: bool = Field(description="It has a value, which is a secret.")
    given: bool = Field(description="It is other than it would be if nobody had set it.")
    about: str


class Installation(BaseModel):
    version: str
    address: str = Field(description="What browsers call it by.")
    sites: list[SiteLease] = Field(description="By machine and home.")
    settings: list[Setting] = Field(description="By name.")
