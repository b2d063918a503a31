"""What a user may say about the vLLM server: one to start here, or running ones to talk to."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MANAGED_ONLY = ("python", "port", "startup_timeout_s", "max_restarts", "tensor_parallel_size", "data_parallel_size",
                "dtype", "max_model_len", "max_num_seqs", "max_images", "gpu_memory_utilization", "quantization",
                "extra_args", "env")


class VllmOptions(BaseModel):
    """Options of the vLLM engine. None of them changes a text but `dtype` and `quantization`.

    Without `base_urls` a server is started and managed here; with them the servers at these addresses are used, and
    the fields of MANAGED_ONLY must not be set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_urls: tuple[str, ...] = Field(default=(), description="running servers, such as http://gpu1:8000/v1")
    api_key_env: str | None = Field(default=None, description="environment variable holding the key of base_urls")

    request_timeout_s: float = Field(default=120, gt=0, description="hard deadline of one attempt at one request")
    attempts: int = Field(default=6, ge=1, description="failed attempts after which a request is given up")
    backoff_s: float = Field(default=0.5, ge=0, description="wait after a first failure; doubles up to 15 s")
    outage_timeout_s: float = Field(default=600, gt=0, description="bound on the silence of all servers, and on 429s")

    python: str | None = Field(default=None, description="a Python that has vLLM; default: this one, else .venv-vllm")
    port: int | None = Field(default=None, ge=1, le=65535, description="default: a free one")
    startup_timeout_s: float = Field(default=1800, gt=0, description="a first start may download the model")
    max_restarts: int = Field(default=5, ge=0, description="restarts in a row without one answer in between")
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that one copy of the model is spread over")
    data_parallel_size: int = Field(default=1, ge=1, description="copies of the model")
    dtype: str = "auto"
    max_model_len: int | None = Field(default=None, ge=1, description="tokens of prompt, images and answer together")
    max_num_seqs: int | None = Field(default=None, ge=1, description="requests that the server works on at a time")
    max_images: int = Field(default=16, ge=1, description="images that one request may hold")
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    quantization: str | None = Field(default=None, description="such as awq; default: as the checkpoint says")
    extra_args: tuple[str, ...] = Field(default=(), description="further words for the server's command line")
    env: dict[str, str] = Field(default={}, description="further environment variables of the server")

    @model_validator(mode="after")
    def _one_kind_of_server(self) -> "VllmOptions":
        foreign = [name for name in MANAGED_ONLY if self.base_urls and name in self.model_fields_set]
        if foreign:
            raise ValueError(f"base_urls names servers that run already, but {', '.join(foreign)} belong to a server "
                             "started here: leave out one or the other")
        if self.api_key_env and not self.base_urls:
            raise ValueError("api_key_env is for base_urls; a server started here makes its own key")
        for url in self.base_urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"base_urls: {url!r} must start with http:// or https:// and usually end in /v1")
        if len(set(self.base_urls)) < len(self.base_urls):
            raise ValueError("base_urls names a server twice")
        return self

    @property
    def longest_s(self) -> float:
        """Seconds after which a request has surely ended: every attempt late, an outage, and restarts in between."""
        restarts = 0 if self.base_urls else (self.max_restarts + 1) * self.startup_timeout_s
        return self.attempts * (self.request_timeout_s + 30) + self.outage_timeout_s + restarts

    def identity(self) -> dict[str, Any]:
        """What changes the texts, for a fingerprint."""
        return {"dtype": self.dtype, "quantization": self.quantization}
