"""Each way to log in, at a stand-in that lets nobody else in; secrets are never told."""

import base64
import json
import time

import pytest

from kubeflow.client.connection import RequestError, connect
from kubeflow.client.submit import upload
from pipeline.commands.options import CommandError
from pipeline.config.config import ConfigError
from pipeline.config.kubeflow import Auth


def with_auth(settings, **auth):
    return settings.model_copy(update={"auth": Auth(**auth)})


def test_a_token_comes_from_the_environment(stub, settings, package, monkeypatch):
    stub.bearer = "s3cret"
    monkeypatch.setenv("KFP_TOKEN", "s3cret\n")
    upload(connect(with_auth(settings, method="token")), package)
    assert len(stub.versions) == 1


def test_a_missing_token_is_told(settings):
    with pytest.raises(ConfigError, match=r"kubeflow\.auth\.token_variable: the environment variable MINE is not set"):
        connect(with_auth(settings, method="token", token_variable="MINE"))


def test_a_wrong_token_is_told_and_not_shown(stub, settings, monkeypatch):
    stub.bearer = "right"
    monkeypatch.setenv("KFP_TOKEN", "s3cret")
    with pytest.raises(RequestError, match=r"it does not know us \(401: Unauthenticated\)") as caught:
        connect(with_auth(settings, method="token"))
    assert "s3cret" not in str(caught.value)


def test_a_service_accounts_token_is_read_anew_for_each_request(stub, settings, package, tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    stub.bearer = "first"
    connection = connect(with_auth(settings, method="service_account", token_file=str(file)))
    file.write_text("second\n")
    stub.bearer = "second"
    upload(connection, package)
    assert len(stub.versions) == 1


def test_a_service_account_without_its_file_is_told(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"kubeflow\.auth\.token_file: .*gone cannot be read .* is for pods"):
        connect(with_auth(settings, method="service_account", token_file=str(tmp_path / "gone")))


@pytest.mark.parametrize("login", ["authservice", "oauth2-proxy"])
@pytest.mark.parametrize("approval", [False, True])
def test_dex_lets_in_by_its_login_page(stub, settings, package, monkeypatch, login, approval):
    stub.login, stub.approval = login, approval
    monkeypatch.setenv("KFP_PASSWORD", "right")
    upload(connect(with_auth(settings, method="dex", username="ada@example.com")), package)
    assert len(stub.versions) == 1


@pytest.mark.parametrize("login", ["authservice", "oauth2-proxy"])
def test_dex_does_not_know_a_wrong_password(stub, settings, monkeypatch, login):
    stub.login = login
    monkeypatch.setenv("KFP_PASSWORD", "s3cret")
    with pytest.raises(CommandError, match=r"Dex does not know ada@example\.com by this password") as caught:
        connect(with_auth(settings, method="dex", username="ada@example.com"))
    assert "s3cret" not in str(caught.value)


def test_dex_without_a_login_page_is_told(settings, monkeypatch):
    monkeypatch.setenv("KFP_PASSWORD", "right")
    with pytest.raises(CommandError, match="which is no login page of Dex"):
        connect(with_auth(settings, method="dex", username="ada@example.com"))


def test_a_way_to_log_in_that_dex_does_not_have_is_told(stub, settings, monkeypatch):
    stub.login = "authservice"
    monkeypatch.setenv("KFP_PASSWORD", "right")
    with pytest.raises(CommandError, match=r"it led to .*/dex/auth/ldap \(status 404\).*\.connector"):
        connect(with_auth(settings, method="dex", username="ada@example.com", connector="ldap"))


def test_a_login_page_that_was_not_announced_is_told_without_its_secrets(stub, settings):
    stub.login = "authservice"
    with pytest.raises(RequestError, match=r"it sends us on to /dex/auth, a login page perhaps") as caught:
        connect(settings)
    assert "secret" not in str(caught.value)


def test_googles_proxy_gets_an_identity_token_of_the_service_account(stub, settings, package, monkeypatch, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.auth import jwt

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    asked = []

    def google(form):
        asked.append(jwt.decode(form["assertion"], certs=public, audience="https://oauth2.googleapis.com/token"))
        claims = {"aud": asked[-1]["target_audience"], "exp": int(time.time()) + 3600}
        parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
        stub.bearer = ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])
        return stub.bearer

    stub.google, stub.bearer = google, "nobody yet"
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "trainer@project.iam.gserviceaccount.com",
                "private_key_id": "1",
                "private_key": private.decode(),
                "token_uri": f"{stub.url}/google/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    client_id = "123.apps.googleusercontent.com"
    upload(connect(with_auth(settings, method="iap", client_id=client_id)), package)
    assert len(stub.versions) == 1
    assert [claims["target_audience"] for claims in asked] == [client_id]


def test_googles_proxy_without_a_service_account_is_told(settings, monkeypatch, tmp_path):
    file = tmp_path / "user.json"
    file.write_text(
        json.dumps({"type": "authorized_user", "client_id": "a", "client_secret": "s3cret", "refresh_token": "b"})
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(CommandError, match="must name the key file of a service account") as caught:
        connect(with_auth(settings, method="iap", client_id="123.apps.googleusercontent.com"))
    assert "s3cret" not in str(caught.value)
