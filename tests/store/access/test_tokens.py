"""Tokens and sign-ins on both databases, and an audit trail that cannot be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.access.sign_ins import sign_in, sign_out, who_is
from service.access.tokens import SCOPES, create_token, implied, list_tokens, recognise, revoke_token
from service.domain.errors import CommandRefused, NotFound
from service.store.schema import AccessToken, AuditEntry, SignIn
from service.store.session import Database, database_now

# Characters of a token's secret part, which may hold the character that stands before it.
SECRET = 43


def test_a_token_is_recognised_and_its_text_is_stored_nowhere(db: Database) -> None:
    made = create_token(db, "ci", ["builds:write", "read"], by="root", address="::1")
    assert made.row.scopes == ("read", "builds:write")
    found = recognise(db, made.text)
    assert found is not None and (found.name, found.state) == ("ci", "active")
    secret = made.text[-SECRET:]
    with db.reader() as session:
        row = session.query(AccessToken).one()
        assert not any(secret in str(value) for value in vars(row).values())
        entry = session.query(AuditEntry).one()
        assert (entry.actor, entry.address, entry.action, entry.subject) == (
            "root", "::1", "token.create", "token ci",
        )  # fmt: skip
        assert entry.after == {"scopes": ["read", "builds:write"], "state": "active", "expires_at": None}
        assert secret not in str(vars(entry))


def test_what_is_not_the_token_is_not_recognised(db: Database) -> None:
    made = create_token(db, "ci", ["read"], by="root")
    other = create_token(db, "other", ["read"], by="root").text
    mixed = made.text[:-SECRET] + other[-SECRET:]
    wrong = made.text[:-1] + ("A" if made.text[-1] != "A" else "B")
    for text_ in (
        "",
        "x",
        wrong,
        mixed,
        made.text + "A",
        made.text.upper(),
        "cryopack_" + "0" * 16 + "_" + "A" * 43,
    ):
        assert recognise(db, text_) is None, text_


def test_a_revoked_and_an_expired_token_are_nothing(db: Database) -> None:
    made = create_token(db, "ci", ["admin"], by="root")
    brief = create_token(db, "brief", ["read"], by="root", expires_in=timedelta(hours=1))
    revoke_token(db, "ci", by="root")
    with db.transaction() as session:
        row = session.query(AccessToken).filter_by(name="brief").one()
        row.expires_at = database_now(session)
    assert recognise(db, made.text) is None and recognise(db, brief.text) is None
    assert {row.name: row.state for row in list_tokens(db)} == {"ci": "revoked", "brief": "expired"}
    with pytest.raises(CommandRefused, match="revoked by root already"):
        revoke_token(db, "ci", by="root")
    with pytest.raises(NotFound):
        revoke_token(db, "none", by="root")


def test_last_use_is_written_once_a_minute(db: Database) -> None:
    made = create_token(db, "ci", ["read"], by="root")
    assert recognise(db, made.text) is not None
    (first,) = list_tokens(db)
    assert first.last_used_at is not None
    recognise(db, made.text)
    assert list_tokens(db)[0].last_used_at == first.last_used_at
    earlier = first.last_used_at - timedelta(minutes=1, seconds=1)
    with db.transaction() as session:
        session.query(AccessToken).one().last_used_at = earlier
    recognise(db, made.text)
    again = list_tokens(db)[0].last_used_at
    assert again is not None and again >= first.last_used_at


@pytest.mark.parametrize(
    ("name", "scopes", "lasts", "why"),
    [
        ("", ["read"], None, "name"),
        ("two words", ["read"], None, "name"),
        ("a" * 61, ["read"], None, "name"),
        ("ci", [], None, "needs a scope"),
        ("ci", ["read", "everything"], None, "no scope 'everything'"),
        ("ci", ["read"], timedelta(), "lasts"),
        ("ci", ["read"], timedelta(days=99999), "lasts"),
    ],
)
def test_a_token_that_cannot_be_made(
    db: Database, name: str, scopes: list[str], lasts: timedelta | None, why: str
) -> None:
    with pytest.raises(CommandRefused, match=why):
        create_token(db, name, scopes, by="root", expires_in=lasts)
    assert list_tokens(db) == ()


def test_a_name_is_used_once(db: Database) -> None:
    create_token(db, "ci", ["read"], by="root")
    revoke_token(db, "ci", by="root")
    with pytest.raises(CommandRefused, match="never used twice"):
        create_token(db, "ci", ["read"], by="root")


def test_what_a_scope_implies() -> None:
    assert implied(["admin"]) == frozenset(SCOPES)
    assert implied(["builds:write"]) == {"builds:write", "read"}
    assert implied([]) == frozenset() and implied(["nonsense"]) == frozenset()


def test_a_session_ends_when_it_is_signed_out_over_or_without_its_token(db: Database) -> None:
    cookie = sign_in(db, "ana", ["builds:write"], seconds=60)
    found = who_is(db, cookie)
    assert found is not None and found.actor == "ana" and "builds:write" in found.scopes
    assert cookie not in found.form_word
    sign_out(db, cookie)
    assert who_is(db, cookie) is None and who_is(db, "nonsense") is None
    assert who_is(db, sign_in(db, "ana", ["read"], seconds=-1)) is None
    token = create_token(db, "ci", ["read"], by="root").row
    standing = sign_in(db, "ci", ["admin"], seconds=60, token_id=token.id)
    held = who_is(db, standing)
    assert held is not None and held.scopes == {"read"}, "a session never has more than its token"
    revoke_token(db, "ci", by="root")
    assert who_is(db, standing) is None
    with db.reader() as session:
        assert session.query(SignIn).count() == 1, "the one that was over is swept out"


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'me'", "DELETE FROM audit_entries"])
def test_the_audit_trail_is_append_only(db: Database, statement: str) -> None:
    create_token(db, "ci", ["read"], by="root")
    with pytest.raises(DBAPIError, match="append-only"), db.transaction() as session:
        session.execute(text(statement))
    with db.reader() as session:
        assert session.query(AuditEntry).one().actor == "root"
