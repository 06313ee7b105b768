"""E-mail (RFC 822): subject, sender, receivers and date as header lines, then the body.

Attachments are named, not read. A body that is HTML alone is read as HTML.
"""

from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from rag.documents.decoding import decode, looks_binary
from rag.documents.hypertext import layout_html
from rag.documents.layout import Layout, LayoutBuilder
from rag.errors import SourceError

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_ENCRYPTED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")


def read_mail(data: bytes) -> Layout:
    if data.startswith(b"\xef\xbb\xbf") or looks_binary(data):  # UTF-16, which the standard library can't read
        data = decode(data).encode("utf-8")
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    if message.get_content_type() in _ENCRYPTED:
        raise SourceError("the e-mail is encrypted; save it decrypted")
    builder = LayoutBuilder()
    headers = {name: value for name in _SHOWN if (value := _header(message, name))}
    builder.paragraph("\n".join(f"{name}: {value}" for name, value in headers.items()))
    plain = [part for part in _bodies(message) if part.get_content_subtype() != "html"]
    for part in plain or _bodies(message):
        text = _text(part)
        if part.get_content_subtype() == "html":
            layout_html(text, builder)
        else:
            builder.paragraph(text)
    if names := [name for part in message.walk() if (name := _attachment_name(part))]:
        builder.paragraph("Attachments: " + ", ".join(names))
    return builder.build(headers.get("Subject"), _iso_date(headers.get("Date")))


def _bodies(message: EmailMessage) -> list[EmailMessage]:
    return [
        part
        for part in message.walk()
        if isinstance(part, EmailMessage) and part.get_content_maintype() == "text" and not _attachment_name(part)
    ]


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message[name]
    except Exception:  # the standard library's header parser raises all sorts on malformed values
        value = next((raw for key, raw in message.raw_items() if key.lower() == name.lower()), "")
    return " ".join(str(value or "").split())


def _attachment_name(part: object) -> str | None:
    if not isinstance(part, EmailMessage) or part.is_multipart():
        return None
    try:
        name = part.get_filename()
        attached = part.get_content_disposition() == "attachment"
    except Exception:  # as above
        return None
    return name or ("unnamed" if attached else None)


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, part.get_content_charset()) if isinstance(payload, bytes) else ""


def _iso_date(value: str | None) -> str | None:
    try:
        return parsedate_to_datetime(value).date().isoformat() if value else None
    except (ValueError, TypeError, IndexError):
        return None
