"""What every part of a config is: frozen, and strict where Pydantic is lenient."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Strict(BaseModel):
    """Frozen; unknown keys are errors, and so is true or false where one number is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_proper(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes true for 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        for number, told in ((int, "a whole number"), (float, "a number")):
            if isinstance(value, bool) and wanted in (number, number | None):
                raise ValueError(f"expected {told}, got {str(value).lower()}")
        return value

    def refuse_beside(self, source: str, *keys: str) -> None:
        """Return when none of `keys` is set: beside `source` they would do nothing.

        Raises:
            ValueError: one is.
        """
        idle = [f"`{key}`" for key in keys if getattr(self, key) not in (None, False)]
        if idle:
            raise ValueError(
                f"expected nothing that `{source}` leaves without effect, got {', '.join(idle)}; remove it"
            )
