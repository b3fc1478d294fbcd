"""Settings of all tests, and the kind of each: which of the runs of the Makefile it belongs to."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings
from tests.guard import Guard
from tests.lean.pynetdicom_reactor import mend
from tests.objects import encode as encode
from tests.objects import make as make
from tests.support import TOOL_ENVIRONMENT

# How long an example takes depends on what else the machine does.
# What lets a change in has to say the same of it each time. `make quick` looks for what nobody has thought of.
settings.register_profile("dicomnet", deadline=None, derandomize=True)
settings.register_profile("quick", settings.get_profile("dicomnet"), max_examples=20, derandomize=False)
settings.load_profile("dicomnet")

_HERE = Path(__file__).parent
# The kind of the tests below a folder, in a file, or of one name; the longest entry that fits counts.
# quick: no socket, no process (tests/guard.py sees to that), and short. local: sockets or processes of ours, or long.
# peers: other implementations. slow: kills, leaks, many associations. orthanc: needs Orthanc, which few have.
# download: needs much of the network.
KINDS: dict[str, str] = {
    "": "local",
    "apps/test_configuration.py": "quick",
    "archive": "quick",
    "archive/test_web_destinations.py": "local",
    "archive/test_viewer.py::test_the_command_says_what_it_cannot_do": "local",
    "archive/test_activity.py::test_processes_see_each_other_and_one_in_the_place_of_another_begins_anew": "local",
    "archive/catalogue/test_encoded.py::test_all_attributes_of_real_files": "local",
    "archive/catalogue/test_index.py::test_an_index_that_cannot_grow": "local",
    "archive/catalogue/test_index.py::test_another_process_that_looks_into_the_index_takes_nothing_away": "local",
    "archive/catalogue/test_index.py::test_many_threads_share_transactions": "local",
    "archive/catalogue/test_index.py::test_receiving_needs_no_database": "local",
    "archive/catalogue/test_postgresql.py": "local",
    "archive/catalogue/test_query.py::test_a_large_answer_takes_little_memory": "local",
    "archive/catalogue/test_query.py::test_each_study_is_found_by_what_it_says_of_itself": "local",
    "archive/catalogue/test_query.py::test_long_lists_and_many_wild_cards": "local",
    "archive/catalogue/test_query.py::test_sql_never_leaves_out_what_matches": "local",
    "archive/catalogue/test_query.py::test_the_levels_of_real_files": "local",
    "archive/catalogue/test_query_order.py": "local",
    "archive/catalogue/test_removal.py": "local",
    "archive/tasks": "local",
    "archive/test_users.py::test_who_ends_it_in_the_middle_leaves_the_file_as_it_was": "local",
    "archive/test_local.py::test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock": "local",
    "archive/storage/test_folder.py::test_a_staged_file_is_on_the_medium_under_its_name": "local",
    "archive/storage/test_folder.py::test_keeping_waits_for_nothing_and_all_of_it_is_durable_by_one_call": "local",
    "archive/storage/test_folder.py::test_what_is_removed_is_removed_durably": "local",
    "archive/storage/test_folder.py::test_what_is_set_aside_is_durable_at_once": "local",
    "archive/ledger": "local",
    "archive/web/page/test_browser.py": "peers",
    "archive/web/page/test_browser.py::test_axe_finds_nothing": "download",
    "archive/web/page/test_words.py": "quick",
    "archive/web/agents/test_npm.py": "download",
    "archive/web/agents/test_ohif.py": "download",
    "archive/web/agents/test_python.py": "peers",
    "archive/test_deleting.py": "local",
    "archive/test_deleting_nodes.py": "local",
    "archive/test_retention.py": "local",
    "archive/test_database.py": "local",
    "archive/test_intake.py::test_a_large_object_is_on_the_medium_before_its_record_is": "local",
    "archive/test_intake.py::test_a_segment_is_used_again_when_what_was_in_it_is_durable_elsewhere": "local",
    "archive/test_intake.py::test_objects_that_are_committed_together_are_each_for_itself": "local",
    "archive/test_intake.py::test_objects_together_need_no_more_descriptors_than_one": "local",
    "archive/test_intake.py::test_one_flush_of_the_journal_is_on_the_way_to_an_answer": "local",
    "archive/test_intake.py::test_out_of_resources": "local",
    "archive/test_intake.py::test_the_data_set_is_kept_as_received": "local",
    "archive/test_intake.py::test_the_journal_is_removed_when_all_is_durable": "local",
    "archive/test_intake.py::test_the_same_object_in_another_form_is_the_same_object": "local",
    "archive/test_intake.py::test_what_is_acknowledged_survives_kill_9": "local",
    "archive/test_access.py::test_who_may_get_has_what_is_stored_and_cannot_move_it": "local",
    "archive/test_access.py::test_titles_addresses_and_certificates_with_each_other": "local",
    "archive/test_access.py::test_who_may_do_one_thing_and_does_the_others_all_the_same": "local",
    "archive/test_access.py::test_who_may_do_what": "local",
    "archive/test_access.py::test_who_may_not_store_and_does_so_all_the_same": "local",
    "archive/test_access.py::test_a_host_name_means_its_addresses": "local",
    "archive/test_log_lines.py": "local",
    "archive/test_node.py": "local",
    "archive/test_claims.py": "local",
    "archive/test_conflicts.py": "local",
    "archive/test_filing.py": "local",
    "archive/test_replay.py": "local",
    "archive/test_stores.py": "local",
    "archive/services": "local",
    "archive/reporting/test_delivery.py": "local",
    "archive/test_node_queries.py": "local",
    "archive/test_node_stores.py": "local",
    "archive/test_old_stores.py": "local",
    "archive/web": "local",
    "archive/web/test_killed.py::test_an_upload_of_5_gb_takes_little_memory_and_leaves_nothing_by_half": "slow",
    "archive/watch": "local",
    "archive/watch/test_node.py::test_storescu_is_counted": "peers",
    "archive/web/test_failures.py": "quick",
    "archive/web/test_metadata_bombs.py": "quick",
    "archive/web/test_proxies.py": "quick",
    "archive/web/test_openapi.py::test_schemathesis_finds_nothing_in_long": "slow",
    "archive/web/test_views.py": "quick",
    "archive/watch/test_association.py": "quick",
    "archive/watch/test_certificate.py": "quick",
    "archive/watch/test_counts.py": "quick",
    "archive/watch/test_probing.py": "quick",
    "cli/test_terminal.py": "quick",
    "datasets": "quick",
    "datasets/test_plain.py::test_damaged_bytes_are_read_as_by_pydicom": "local",
    "datasets/test_plain.py::test_made_up_data_sets_go_both_ways_as_with_pydicom": "local",
    "datasets/test_plain.py::test_real_files_are_decoded_as_pydicom_does": "local",
    "datasets/test_plain.py::test_real_files_are_encoded_as_pydicom_does": "local",
    "datasets/test_transcode.py": "local",
    "datasets/test_xml_model.py::test_is_dcmtks": "peers",
    "deploy": "quick",
    "dicomweb/test_multipart_reading.py": "quick",
    "deploy/test_department.py": "peers",
    "deploy/test_moving.py": "orthanc",
    "deploy/test_readme.py": "local",
    "dimse": "quick",
    "dimse/test_codec.py::test_a_damaged_command_set_gives_a_message_or_a_protocol_error": "local",
    "dimse/test_codec.py::test_command_sets_with_thousands_of_elements_are_not_kept_in_memory": "local",
    "drivers/test_connection.py": "quick",
    "drivers/test_conversation.py": "quick",
    "drivers/test_scanning.py": "quick",
    "drivers/test_scanning.py::test_a_known_file_scans_alike_whatever_is_there_of_it": "local",
    "encoding": "quick",
    "encoding/test_comparison.py::test_a_small_stream_that_inflates_without_end": "local",
    "encoding/test_comparison.py::test_a_value_that_is_changed_anywhere_is_found": "local",
    "encoding/test_comparison.py::test_all_forms_of_any_object_are_the_same_and_no_other_is": "local",
    "encoding/test_comparison.py::test_no_byte_out_of_place_raises": "local",
    "encoding/test_comparison.py::test_objects_of_300_megabytes_are_not_read_into_memory": "local",
    "encoding/test_comparison.py::test_what_dcmtk_converts_is_the_same": "peers",
    "encoding/test_comparison.py::test_what_pydicom_writes_is_the_same": "local",
    "encoding/test_known_files.py::test_what_is_recognized_is_what_the_complete_way_says": "local",
    "encoding/test_known_headers.py::test_a_sequence_of_many_empty_items_counts_for_what_it_takes": "local",
    "encoding/test_known_headers.py::test_made_up_data_sets_scan_alike_whatever_is_known": "local",
    "encoding/test_scan.py::test_a_decompression_bomb_costs_little_memory": "local",
    "exchange": "quick",
    "exchange/test_disposal.py::test_what_ends_it_at_any_line_loses_nothing": "local",
    "exchange/test_logs.py::test_many_peers_are_no_way_around_it": "local",
    "exchange/test_retrieval_golden.py": "local",
    "fetching": "quick",
    "fetching/test_receiver.py": "local",
    "faults/test_kill.py": "slow",
    "faults/test_kill_fetch.py": "slow",
    "faults/test_kill_import.py": "slow",
    "faults/test_kill_points.py::test_each_worker_is_killed_at_a_system_call": "slow",
    "faults/test_kill_points.py::test_four_workers_are_killed_at_any_moment": "slow",
    "faults/test_kill_store.py::test_both_are_killed_many_times": "slow",
    "faults/test_leaks.py": "slow",
    "faults/test_many_associations.py": "slow",
    "faults/test_node_troubles.py::test_more_objects_in_a_retrieval_than_sixteen_bits_count": "slow",
    "faults/test_node_troubles.py::test_more_objects_in_a_study_than_sixteen_bits_count": "slow",
    "interop": "peers",
    "interop/test_commands.py": "orthanc",
    "interop/test_orthanc.py": "orthanc",
    "interop/test_orthanc_fetch.py": "orthanc",
    "interop/test_orthanc_web.py": "orthanc",
    "interop/test_orthanc_web_client.py": "orthanc",
    "pynetdicom": "quick",
    "pynetdicom/test_ae.py": "local",
    "pynetdicom/test_api_parity.py::test_a_server_has_the_attributes_of_pynetdicoms": "local",
    "pynetdicom/test_association.py": "local",
    "pynetdicom/test_connect.py": "local",
    "pynetdicom/test_destinations.py": "local",
    "pynetdicom/test_events.py": "local",
    "pynetdicom/test_habits.py": "local",
    "pynetdicom/test_hooks.py": "local",
    "pynetdicom/test_negotiation.py": "local",
    "pynetdicom/test_normalized.py": "local",
    "pynetdicom/test_pdu.py": "local",
    "pynetdicom/test_providers.py": "local",
    "pynetdicom/test_retrieval.py": "local",
    "pynetdicom/test_service_user.py": "local",
    "pynetdicom/test_state.py": "local",
    "pynetdicom/test_threads.py": "local",
    "pynetdicom/test_transport.py": "local",
    "peers": "quick",
    "exchange/test_journal.py::test_an_interrupt_anywhere_leaves_a_journal_that_can_be_closed": "local",
    "rendering/test_pixels.py::test_pictures_are_those_of_dcmtk": "peers",
    "rendering/test_views.py": "quick",
    "peers/test_commitment.py": "local",
    "peers/test_fetching.py": "peers",
    "peers/test_performed_steps.py": "local",
    "peers/test_worklist.py": "peers",
    "scenarios": "peers",
    "services": "quick",
    "settings": "quick",
    "settings/test_effects.py": "local",
    "settings/test_effects.py::test_each_key_has_a_row": "quick",
    "settings/test_reload.py": "local",
    "test_conformance_statement.py": "quick",
    "test_errors.py": "quick",
    "test_house.py": "quick",
    "test_house.py::test_the_drivers_start_without_pydicom": "local",
    "test_house.py::test_the_protocol_core_starts_without_pydicom_and_without_sockets": "local",
    "test_values.py": "quick",
    "upper_layer": "quick",
    "upper_layer/test_negotiation.py::test_no_damage_of_one_item_reaches_another": "local",
    "upper_layer/test_negotiation.py::test_roles_are_granted_as_by_pynetdicom": "local",
    "upper_layer/test_negotiation.py::test_the_answer_is_that_of_pynetdicom": "local",
    "wire": "quick",
}


def kind_of(file: str, test: str) -> str:
    """The kind of a test, by its file below this folder and by its name."""
    entry = f"{file}::{test.partition('[')[0]}"
    if entry in KINDS:
        return KINDS[entry]
    while file not in KINDS:
        file = file.rpartition("/")[0]
    return KINDS[file]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--associations", type=int, default=250, metavar="N", help="how many the tests of leaks open (250)"
    )
    parser.addoption(
        "--kills",
        type=int,
        default=4,
        metavar="N",
        help="how often a store is killed, and its peer as often, while it sends 1000 objects for each (4)",
    )


def pytest_configure(config: pytest.Config) -> None:
    mend()
    for name in [each for each in os.environ if each.upper().startswith("DICOMNET_")]:
        del os.environ[name]
    # Nodes run side by side, and their default port for HTTP is one.
    os.environ["DICOMNET_WEB_LISTEN"] = "off"
    # No configuration of the user is read: there is none below a file.
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    # Nor is a viewer found that is installed here.
    os.environ["XDG_DATA_HOME"] = os.devnull
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        # Tests run in this process. Those that they start do so in half the time.
        path = [str(_HERE / "lean"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
    # It was imported before, where the tests of one folder are run and its conftest.py needs it.
    TOOL_ENVIRONMENT.clear()
    TOOL_ENVIRONMENT.update(os.environ, TCP_NODELAY="1")
    config.pluginmanager.register(Guard())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m`` and one kind, files without tests of that kind are not even imported."""
    wanted = config.option.markexpr
    if wanted not in KINDS.values() or collection_path.suffix != ".py":
        return None
    file = collection_path.relative_to(_HERE).as_posix()
    kinds = {kind_of(file, ""), *(kind for entry, kind in KINDS.items() if entry.startswith(f"{file}::"))}
    return None if wanted in kinds else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        file = item.path.relative_to(_HERE).as_posix()
        item.add_marker(kind_of(file, item.name))


def pytest_collection_finish() -> None:
    """Many tests collect garbage to see that nothing is left; the tests themselves are not searched each time."""
    gc.collect()
    gc.freeze()
