"""E-mail (RFC 822): subject, sender, receivers and date as header lines, then the body.

Attachments are named in the text; ``mail_attachments`` gives them. A body that is HTML alone is read as HTML.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import count

from rag.documents.decoding import decode, looks_binary
from rag.documents.hypertext import layout_html
from rag.documents.layout import Layout, LayoutBuilder
from rag.errors import SourceError

_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_MAX_ATTACHMENTS = 200
_NO_DOCUMENTS = ("image", "audio", "video")
"""Kinds of attachment that are only named: a logo in every mail is no document that failed."""
_NOT_IN_NAMES = re.compile(r"[/\\\x00-\x1f\x7f]")
_ENCRYPTED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")


@dataclass(frozen=True, slots=True)
class MailAttachment:
    """``name`` holds no slash, and is unlike those of the mail's other attachments."""

    name: str
    data: bytes


def mail_attachments(data: bytes) -> list[MailAttachment]:
    """The attached files in order, pictures and sound left out. ``SourceError`` for more than any mail has."""
    found: dict[str, MailAttachment] = {}
    for part in _message(data).walk():
        name = _attachment_name(part)
        if name is None or part.get_content_maintype() in _NO_DOCUMENTS:
            continue
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        if len(found) == _MAX_ATTACHMENTS:
            raise SourceError(f"the e-mail has more than {_MAX_ATTACHMENTS} attachments; save them as files")
        name = _unlike(_NOT_IN_NAMES.sub("_", name).strip() or "unnamed", found)
        found[name] = MailAttachment(name, content)
    return list(found.values())


def read_mail(data: bytes) -> Layout:
    message = _message(data)
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


def _message(data: bytes) -> EmailMessage:
    if data.startswith(b"\xef\xbb\xbf") or looks_binary(data):  # UTF-16, which the standard library can't read
        data = decode(data).encode("utf-8")
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _unlike(name: str, taken: Container[str]) -> str:
    stem, dot, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    numbered = (f"{stem} ({number}){dot}{suffix}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


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
