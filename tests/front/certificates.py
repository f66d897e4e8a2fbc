"""Certificates for servers on the loopback interface, made by the openssl program when a test needs them.

    made = Certificates(folder)       # skips the test where there is no openssl
    made.ca                           # the authority to trust
    made.good, made.expired, made.stranger, made.other_host    # (certificate, key), for ModelServer(tls=...)
"""

import pathlib
import shutil
import subprocess
import unittest

CA_CONFIG = """
[ca]
default_ca = ours
[ours]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""
CA_EXTENSIONS = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
HERE = "IP:127.0.0.1,DNS:localhost"


class Certificates:
    def __init__(self, folder):
        self.program = shutil.which("openssl")
        if not self.program:
            raise unittest.SkipTest("no openssl program to make certificates with")
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        self.config = self.folder / "ca.conf"
        self.config.write_text(CA_CONFIG.format(folder=self.folder))
        extensions = [word for extension in CA_EXTENSIONS for word in ("-addext", extension)]
        self.ca, self.ca_key = self._self_signed("ca", "Test authority", *extensions)
        self.good = self._signed("good", HERE, "20200101000000Z", "20991231000000Z")
        self.expired = self._signed("expired", HERE, "20200101000000Z", "20210101000000Z")
        self.other_host = self._signed("other", "DNS:other.example.org", "20200101000000Z", "20991231000000Z")
        self.stranger = self._self_signed("stranger", "localhost", "-addext", f"subjectAltName={HERE}")

    def _run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], capture_output=True, cwd=self.folder, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {args[0]}: {done.stderr.decode('utf-8', 'replace')}")

    def _new_key(self, name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", self.folder / f"{name}.key")

    def _self_signed(self, name, common_name, *more):
        certificate = self.folder / f"{name}.pem"
        self._run("req", "-x509", *self._new_key(name), "-out", certificate, "-days", 3650, "-subj",
                  f"/CN={common_name}", *more)
        return certificate, self.folder / f"{name}.key"

    def _signed(self, name, hosts, begin, end):
        request, certificate = self.folder / f"{name}.csr", self.folder / f"{name}.pem"
        self._run("req", "-new", *self._new_key(name), "-out", request, "-subj", f"/CN={name}", "-addext",
                  f"subjectAltName={hosts}")
        self._run("ca", "-batch", "-notext", "-config", self.config, "-cert", self.ca, "-keyfile", self.ca_key,
                  "-startdate", begin, "-enddate", end, "-in", request, "-out", certificate)
        return certificate, self.folder / f"{name}.key"
