"""Who is asked: the address, the key, and how an endpoint's faults are told to the user. Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError, StoreError
from retune_trainer.config import RunConfig

URL_FIELD = "spec.gates.baseline.endpoint.url"
SECRET_FIELD = "spec.gates.baseline.endpoint.secretRef"  # noqa: S105 - a path
SHOWN = 200


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible API."""

    # Of `/chat/completions`.
    url: httpx.URL
    model: str
    template: str | None
    secret: str | None
    key: str | None = field(repr=False)
    scrubber: Scrubber = field(repr=False)

    @property
    def verbatim(self) -> httpx.URL:
        """Of `/completions`, which takes a prompt as it is."""
        return self.url.copy_with(path=f"{self.url.path.removesuffix('/chat/completions')}/completions")

    @property
    def shown(self) -> str:
        """The address as messages have it: without a query, where some keep keys."""
        return self.scrubber.text(str(self.url.copy_with(query=None)))

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries. No compression: a small body could unpack to one that fills memory."""
        return {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        }

    def excerpt(self, text: str) -> str:
        """The beginning of what another side said, in one line, without credentials."""
        # Scrubbed before it is cut: half a key would not be recognised.
        shown = " ".join(self.scrubber.text(text).split())[:SHOWN]
        return "".join(c if c.isprintable() else "?" for c in shown)

    def invalid(self, problem: str) -> InputError:
        """The error for an address behind which is no such API, or not this model."""
        cure = f"check {URL_FIELD} (the API's base, such as http://gateway:8000/v1) and model"
        return InputError("EndpointInvalid", URL_FIELD, f"{self.shown} {problem}; {cure}")

    def rejected(self, problem: str) -> InputError:
        """The error for a key that is wrong, or absent."""
        return _rejected(self.shown, self.secret, problem)

    def unreachable(self, problem: str) -> StoreError:
        """The error for what may pass."""
        return StoreError(URL_FIELD, f"{self.shown} {problem}")


def _rejected(shown: str, secret: str | None, problem: str) -> InputError:
    used = f"with Secret {secret!r}" if secret else "without a key (no secretRef is set)"
    cure = f"correct the Secret or name another in {SECRET_FIELD}" if secret else f"name a Secret in {SECRET_FIELD}"
    return InputError("CredentialsRejected", SECRET_FIELD, f"{shown} cannot be asked {used}: {problem}; {cure}")


def address(url: str) -> httpx.URL:
    """Where chat completions are, of an API's base.

    Raises:
        InputError: the URL is none.
    """

    def wrong(problem: str) -> InputError:
        cure = "write the API's base, such as http://gateway:8000/v1"
        return InputError("EndpointInvalid", URL_FIELD, f"the URL {problem}; {cure}")

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise wrong(f"is none ({error})") from None
    if parsed.userinfo:
        raise wrong("holds a user or a password, which belong into a Secret (OPENAI_API_KEY)")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise wrong(f"{url!r} is not of http or https")
    return parsed.copy_with(path=f"{parsed.path.rstrip('/')}/chat/completions", fragment=None)


def endpoint_of(config: RunConfig, credentials: dict[Role, Credentials]) -> Endpoint | None:
    """The endpoint that the spec names, with its key, or None when it names none.

    Raises:
        InputError: the URL is none, or the Secret has no key that can be sent.
    """
    spec = config.spec.gates.baseline.endpoint
    if spec is None:
        return None
    url = address(spec.url)
    secret = spec.secret_ref.name if spec.secret_ref else None
    keys = credentials.get(Role.BASELINE, Credentials())
    key = (keys.get("OPENAI_API_KEY") or keys.get("API_KEY")) if secret else None
    endpoint = Endpoint(url, spec.model, spec.prompt_template, secret, key, Scrubber(credentials.values()))
    if secret and not key:
        raise endpoint.rejected("it has neither OPENAI_API_KEY nor API_KEY")
    if key and not (key.isascii() and key.isprintable()):
        # The HTTP library would say so, too, and quote the key.
        raise endpoint.rejected("its key holds characters that no HTTP header can carry")
    return endpoint
