"""An endpoint that does not do what it should is told in one sentence: where, what was wanted, what to do."""

import datetime
import socket

import pytest
import stub_kfp

from kubeflow.client.connection import RequestError, connect
from kubeflow.client.submit import upload
from pipeline.config.config import ConfigError


def at(settings, endpoint):
    return settings.model_copy(update={"endpoint": endpoint})


def failure(settings):
    with pytest.raises(RequestError) as caught:
        connect(settings)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{settings.endpoint}: cannot reach Kubeflow Pipelines: ")
    return str(caught.value)


def test_nobody_listens(settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert "nothing listens there" in failure(at(settings, endpoint))


def test_no_such_host(settings):
    assert "there is no such host" in failure(at(settings, "http://kubeflow.invalid"))


def test_no_endpoint(settings):
    with pytest.raises(ConfigError, match=r"kubeflow\.endpoint: missing"):
        connect(at(settings, None))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("late", "no answer within kubeflow.request_timeout, 0.4 s"),
        ("after", "the connection broke before the answer was complete"),
        ("page", "it answered with something else than Kubeflow's API would"),
        (401, "it does not know us (401: injected); look at kubeflow.auth"),
        (403, "we are not allowed to (403: injected); ask for the right in the namespace"),
        (404, "it answered 404: injected"),
        (500, "it answered 500: injected"),
        (503, "it answered 503: injected"),
    ],
)
def test_what_answers_is_not_well(stub, settings, fault, told):
    stub.fail("GET", "/healthz", fault, times=9)
    assert told in failure(settings)


def test_another_server_answers(stub, settings):
    # Its page of "not found" instead of the API's.
    assert "there is nothing of Kubeflow's at this address (404)" in failure(at(settings, f"{stub.url}/somewhere"))


def test_what_fails_later_is_named_too(stub, settings, package):
    connection = connect(settings)
    stub.fail("POST", "/pipelines", 403)
    with pytest.raises(RequestError, match=r"cannot make the pipeline demo: we are not allowed to"):
        upload(connection, package)


def test_a_certificate_of_ones_own_authority_is_taken_when_it_is_named(settings, package, tmp_path, monkeypatch):
    file = _certificate(tmp_path)
    with stub_kfp.Stub(certificate=str(file)) as stub:
        assert "its certificate is not trusted" in failure(at(settings, stub.url))
        assert not stub.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        upload(connect(at(settings, stub.url)), package)
        assert len(stub.versions) == 1


def _certificate(folder):
    """A key and its certificate in one file."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stub")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "stub.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
