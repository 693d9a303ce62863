"""A broker that requires authentication (SASL/SCRAM or a client certificate) and authorization by ACL."""

from __future__ import annotations

import shlex
import subprocess
from argparse import ArgumentParser
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.servers.kafka import KafkaServer, Listener
from tests.servers.server import ServerError


class SecuredKafkaServer(KafkaServer):
    """A broker with two more listeners: SASL_SSL with SCRAM, and SSL with client certificates.

    On the listeners it inherits, the test itself is a super user.
    """

    @property
    def sasl_address(self) -> str:
        return f"127.0.0.1:{self._kept_port('sasl-port', other_than=self.port)}"

    @property
    def mutual_address(self) -> str:
        return f"127.0.0.1:{self._kept_port('mutual-port', other_than=self.port)}"

    @property
    def certificates(self) -> Path:
        """The folder with the CA (`ca.pem`), another CA (`other-ca.pem`), and `NAME.pem` and `NAME.key` per holder."""
        return self.folder / "certificates"

    @property
    def _listeners(self) -> list[Listener]:
        secured = (("SECURED", "SASL_SSL", self.sasl_address), ("MUTUAL", "SSL", self.mutual_address))
        return [
            *super()._listeners,
            *(Listener(name, kind, *[int(address.rpartition(":")[2])] * 2) for name, kind, address in secured),
        ]

    @property
    def _more_properties(self) -> dict[str, str]:
        return {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secured.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates / "broker.both"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates / "ca.pem"),
            "listener.name.mutual.ssl.client.auth": "required",
        }

    def _prepare(self) -> None:
        if not self.certificates.exists():
            self.certificates.mkdir(parents=True)
            for authority in ("ca", "other-ca"):
                self._certify(authority)
            self._certify("broker", "-addext", "subjectAltName=IP:127.0.0.1", issuer="ca")
            key, certificate = ((self.certificates / f"broker.{kind}").read_text() for kind in ("key", "pem"))
            (self.certificates / "broker.both").write_text(key + certificate)
        super()._prepare()

    def certify(self, name: str) -> None:
        """Create the certificate of the principal `User:CN=NAME`."""
        self._certify(name, issuer="ca")

    def _certify(self, name: str, *more: str, issuer: str | None = None) -> None:
        """Create key and certificate, self-signed unless there is an issuer. Needs OpenSSL 3."""
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        signed = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else []
        command += [*signed, *more, "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        done = subprocess.run(command, cwd=self.certificates, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"cannot create a certificate: {done.stderr}")

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers})

    def add_user(self, name: str, password: str) -> None:
        """Create a user for SCRAM."""
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(name, credentials, password.encode())
        self._admin.alter_user_scram_credentials([change])[name].result(timeout=30)

    def allow(self, *bindings: AclBinding) -> None:
        """Create these ACLs."""
        for future in self._admin.create_acls([*bindings]).values():
            future.result(timeout=30)

    def forbid(self, *bindings: AclBinding) -> None:
        """Delete these ACLs, which must exist."""
        filters = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in bindings
        ]
        for future in self._admin.delete_acls(filters).values():
            assert len(future.result(timeout=30)) == 1

    def forget_all(self) -> None:
        """Delete all ACLs."""
        anything: Any = None
        everything = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        self._admin.delete_acls([everything])[everything].result(timeout=30)


def bindings(command: str) -> list[AclBinding]:
    """The ACLs that a command `kafka-acls.sh … --add …` creates: one per operation and resource."""
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--command-config", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    for kind in ("topic", "group", "transactional-id"):
        parser.add_argument(f"--{kind}", action="append", default=[])
    program, *arguments = shlex.split(command)
    assert program == "kafka-acls.sh"
    given = parser.parse_args(arguments)
    resources = [
        *((ResourceType.TOPIC, name) for name in given.topic),
        *((ResourceType.GROUP, name) for name in given.group),
        *((ResourceType.TRANSACTIONAL_ID, name) for name in given.transactional_id),
    ]
    return [
        AclBinding(
            kind,
            name,
            ResourcePatternType[given.resource_pattern_type.upper()],
            given.allow_principal,
            "*",
            AclOperation[_constant(operation)],
            AclPermissionType.ALLOW,
        )
        for kind, name in resources
        for operation in given.operation
    ]


def _constant(operation: str) -> str:
    """`DescribeConfigs` as DESCRIBE_CONFIGS."""
    return "".join(f"_{each}" if each.isupper() else each.upper() for each in operation).lstrip("_")
