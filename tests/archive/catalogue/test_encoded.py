from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import identifier
from tests.archive.catalogue.test_semantics import AT_STUDY, ELSEWHERE, _keys, filled

from dicomnet.archive.catalogue import encoded
from dicomnet.archive.catalogue.computed import COMPUTED
from dicomnet.archive.catalogue.encoded import EncodedResponses
from dicomnet.archive.catalogue.identifiers import Key, Request
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.options import QueryOptions
from dicomnet.archive.catalogue.query import search
from dicomnet.archive.catalogue.responses import response
from dicomnet.archive.catalogue.schema import KEPT
from dicomnet.datasets.character_sets import CHARACTER_SETS
from dicomnet.datasets.codec import encode
from dicomnet.datasets.levels import Level
from dicomnet.encoding.vrs import VRS
from dicomnet.errors import ServiceRefusal

# Implicit, little endian, deflated: those of the transfer syntaxes of the standard.
SYNTAXES = [
    (True, True, False),
    (False, True, False),
    (False, False, False),
    (False, True, True),
]
TERMS = sorted({row.term for row in CHARACTER_SETS.values()})
LEVELS = {"STUDY": ("STUDY", "SERIES", "IMAGE"), "PATIENT": ("PATIENT",)}


@pytest.fixture(scope="module")
def archived(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    put: Callable[..., int],
) -> Iterator[Index]:
    root = tmp_path_factory.mktemp("encoded")
    with filled(root / "store", root / "index", make, encode, put) as index:
        yield index


def _differing(
    index: Index, model: Any, asked: Dataset, how: tuple[bool, bool, bool], options: QueryOptions
) -> tuple[int, list[Any]]:
    """How many matches there are, and the attributes of those whose response is not what `encode` writes for it."""
    found = search(index, model, asked, options=options)
    responses = EncodedResponses(found.request, how)
    matches = [match for match in found.matches if match is not None]
    return len(matches), [
        match
        for match in matches
        if responses.encode(match) != encode(response(found.request, match, ""), *how)
    ]


@pytest.mark.parametrize("how", SYNTAXES)
@pytest.mark.parametrize("term", ["", "ISO_IR 100", "ISO_IR 13", "ISO_IR 192", "ISO 2022 IR 87"])
def test_all_queries_of_the_table(archived: Index, how: tuple[bool, bool, bool], term: str) -> None:
    queries: list[Any] = [("STUDY", "STUDY", {"StudyInstanceUID": ""} | keys) for keys, _ in AT_STUDY]
    queries += [(model, level, keys) for model, level, keys, _ in ELSEWHERE]
    count = 0
    for model, level, keys in queries:
        asked = _keys(keys | {"QueryRetrieveLevel": level})
        shown = _keys({"SpecificCharacterSet": term, "PatientName": "", "StudyDescription": ""})
        for each in shown:
            if each.tag not in asked:
                asked.add(each)
        try:
            found, differing = _differing(archived, model, asked, how, QueryOptions())
        except ServiceRefusal:
            continue
        assert not differing
        count += found
    assert count > 600


@pytest.mark.parametrize("how", SYNTAXES)
def test_all_attributes_of_real_files(
    real: tuple[Index, list[Dataset]], how: tuple[bool, bool, bool]
) -> None:
    index, _ = real
    every = [tag for kept in KEPT.values() for tag in kept] + [
        tag for each in COMPUTED.values() for tag in each
    ]
    keys: dict[str, Any] = dict.fromkeys((keyword_for_tag(tag) for tag in every), "")
    keys |= {name: [] for name in keys if name.endswith("Sequence")}
    options = QueryOptions(relational=True, timezone=True)
    for term in ("", "ISO_IR 100", "ISO_IR 13", "GB18030", "ISO_IR 192"):
        for model, levels in LEVELS.items():
            for level in levels if term in ("", "ISO_IR 192") else levels[:1]:
                asked = identifier(**keys, QueryRetrieveLevel=level, SpecificCharacterSet=term)
                found, differing = _differing(index, model, asked, how, options)
                assert found > 10
                assert not differing


def test_items_of_sequences(archived: Index) -> None:
    for item in ({}, {"CodeValue": ""}, {"CodeValue": "", "CodeMeaning": ""}):
        asked = _keys(
            {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "ProcedureCodeSequence": [item]}
        )
        for how in SYNTAXES:
            assert _differing(archived, "STUDY", asked, how, QueryOptions()) == (14, [])


_VALUE = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            "\\",
            "A\\\\B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "M\u00fcller^Uwe\\",
            "A=",
            "==A",
            "a=b=c=d",
        ]
    ),
    st.sampled_from(
        ["1", "007", " 1.5", "1e3\\2", "-1\\x\\3", "1_0", "70000", "-40000\\1", "nan", "inf", "1e400"]
    ),
    st.sampled_from(["1.2.3", "1.2\t", "1.2.3\\ 1.2", "20240101", "+0100"]),
)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(VRS.keys() - {"SQ"})), _VALUE), min_size=1, max_size=4),
    st.sampled_from(TERMS),
    st.sampled_from(["", "+0100", "x", "\u00e9"]),
    st.sampled_from(SYNTAXES),
)
def test_made_up_values(
    values: list[tuple[str, str]], term: str, offset: str, how: tuple[bool, bool, bool]
) -> None:
    keys = [Key(0x00280010 + 2 * number, vr) for number, (vr, _) in enumerate(values)]
    request = Request("STUDY", Level.STUDY, term, [Key(0x00080020, "DA"), *keys[::-1]])
    request.options = QueryOptions(timezone=True)
    attributes = {f"{key.tag:08X}": text for key, (_, text) in zip(keys, values, strict=True)}
    attributes["00080201"] = offset
    responses = EncodedResponses(request, how)
    try:
        expected = encode(response(request, attributes, ""), *how)
    except Exception as error:  # noqa: BLE001
        # pydicom has no value for some texts, of VRs that are not kept.
        with pytest.raises(type(error)):
            responses.encode(attributes)
        return
    assert responses.encode(attributes) == expected
    assert responses.encode({}) == encode(response(request, {}, ""), *how)


def test_a_usual_match_needs_no_data_set(archived: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Dataset:
        raise AssertionError("a data set is made")

    monkeypatch.setattr(encoded, "response", fail)
    names = ("PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription")
    counted = ("NumberOfStudyRelatedSeries", "ModalitiesInStudy", "ProcedureCodeSequence")
    asked = _keys(dict.fromkeys((*names, *counted[:2]), "") | {counted[2]: []})
    asked.update(_keys({"QueryRetrieveLevel": "STUDY", "SpecificCharacterSet": "ISO_IR 192"}))
    found = search(archived, "STUDY", asked)
    responses = EncodedResponses(found.request, (False, True, False))
    matches = [match for match in found.matches if match is not None and not match.get("00081032")]
    assert len(matches) == 13
    assert all(responses.encode(match) for match in matches)
