"""vLLM's request bodies, as far as this server serves them, and its error body.

Fields that nobody here knows are ignored, as vLLM does; known ones that would change the sampling and that
this server does not implement are refused, so that nobody trains on a distribution other than the one
asked for.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TokenIds = Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(min_length=1)]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class ApiError(Exception):
    """An answer other than 200, in vLLM's shape."""

    def __init__(
        self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class SamplingBody(_Body):
    """What chat and plain completions share."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: Int64 | None = None
    stop: list[str] = Field(default_factory=list)
    n: Literal[1] = 1
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    return_token_ids: bool = False
    cache_salt: str | None = Field(default=None, min_length=1)

    # Known to vLLM, not served here: only the values that change nothing.
    top_k: Literal[-1, 0] | None = None
    min_p: float | None = Field(default=None, ge=0, le=0)
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    repetition_penalty: float | None = Field(default=None, ge=1, le=1)
    min_tokens: Literal[0] | None = None
    ignore_eos: bool = False
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: list[str]) -> list[str]:
        if "" in value:
            raise ValueError("stop cannot contain an empty string.")
        return value

    @field_validator("temperature")
    @classmethod
    def _divisible(cls, value: float) -> float:
        # As in vLLM: 0 is greedy, and what is too small to divide by is lifted.
        return value if value == 0 else max(value, 0.01)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool((self.stream_options or {}).get("include_usage"))


class Message(_Body):
    """One chat message. Content may be text or text parts; nothing else is served."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatBody(SamplingBody):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto"] = "auto"
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: Literal[0] = 0
    response_format: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def _text_only(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError(
                "the embedded server has no grammar: only response_format {'type': 'text'} is served"
            )
        return value


class CompletionBody(SamplingBody):
    """POST /v1/completions; the prompt is text or token ids."""

    prompt: Annotated[str, Field(min_length=1)] | TokenIds
    max_tokens: int | None = Field(default=16, ge=1)
    logprobs: Literal[0] | None = None
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: Literal[False] = False


class TokenizeBody(_Body):
    """POST /tokenize: a prompt, or messages through the template."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True


class LoadBody(_Body):
    """POST /v1/load_lora_adapter."""

    lora_name: str = Field(min_length=1)
    lora_path: str = Field(min_length=1)
    load_inplace: Literal[False] = False


class UnloadBody(_Body):
    """POST /v1/unload_lora_adapter."""

    lora_name: str = Field(min_length=1)
