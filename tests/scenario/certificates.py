"""Keys and certificates, all made by openssl: an authority's, self-signed ones, and the TLSA records that name them."""
import os
import subprocess


def _openssl(*words, text=None):
    return subprocess.run(["openssl", *words], input=text, check=True, capture_output=True).stdout


def _new_key(path):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]


def _extensions(names):
    return ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names), "-addext", "basicConstraints=critical,CA:FALSE"]


class Authority:
    """Issues certificates: files NAME.pem (with the authority's own behind it) and NAME.key of the folder."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate = os.path.join(folder, "authority.pem")
        self._key = os.path.join(folder, "authority.key")
        _openssl("req", "-x509", *_new_key(self._key), "-days", "2", "-subj", "/CN=Authority of a test", "-out", self.certificate)

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, names, expired=False):
        """For the host names given. Returns the certificate's path."""
        request = _openssl("req", *_new_key(self.path(f"{name}.key")), "-subj", f"/CN={name}", *_extensions(names))
        chain = _openssl("x509", "-req", "-CA", self.certificate, "-CAkey", self._key, "-copy_extensions", "copy",
                         "-days", "-1" if expired else "2", text=request)
        with open(self.certificate, "rb") as file:
            chain += file.read()
        with open(self.path(f"{name}.pem"), "wb") as out:
            out.write(chain)
        return self.path(f"{name}.pem")

    def self_signed(self, name, names):
        """One that it has nothing to do with."""
        _openssl("req", "-x509", *_new_key(self.path(f"{name}.key")), "-days", "2", "-subj", f"/CN={name}", *_extensions(names),
                 "-out", self.path(f"{name}.pem"))
        return self.path(f"{name}.pem")


def tlsa_of(certificate, usage=3, spoil=False):
    """A TLSA record's data of a PEM file's first public key, "3 1 1 …"; of another key if it's to be spoilt."""
    der = _openssl("pkey", "-pubin", "-outform", "DER", text=_openssl("x509", "-in", certificate, "-pubkey", "-noout"))
    digest = _openssl("dgst", "-sha256", "-r", text=der).split()[0].decode()
    return f"{usage} 1 1 {digest[:-2] + ('00' if digest[-2:] != '00' else '11') if spoil else digest}"
