"""The six normalized services (PS3.7 chapter 10) as methods of an association, which knows how a request goes out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

    # Status, and the data set of the response.
    Reply = tuple[Dataset, Dataset | None]


class NormalizedServices:
    """The N-services as methods of an `Association`, which is their service user on either side."""

    @abstractmethod
    def _normalized(
        self,
        service: str,
        class_uid: str | UID,
        instance_uid: str | UID | None,
        msg_id: int,
        meta_uid: str | UID | None,
        dataset: Dataset | None = None,
        **parameters: Any,
    ) -> Reply:
        """Send a request, see `normalized_request`, and give what `reply_of` makes of its response."""

    def send_n_action(
        self,
        dataset: Dataset | None,
        action_type: int,
        class_uid: str | UID,
        instance_uid: str | UID,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Reply:
        """Have an action performed on a SOP instance (PS3.7 section 10.1.4).

        Parameters
        ----------
        dataset
            The Action Information, or None.
        action_type
            Action Type ID, 0 to 65535.
        class_uid, instance_uid
            Requested SOP Class UID and Requested SOP Instance UID.
        msg_id
            Message ID, 0 to 65535.
        meta_uid
            The SOP class of the presentation context, where that is not `class_uid` but one that stands for it, such
            as a meta SOP class.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.
        action_reply : pydicom.dataset.Dataset or None
            The Action Reply, which may be empty, with a status of success or warning.

        Raises
        ------
        RuntimeError
            If the association is not established.
        ValueError
            If no accepted presentation context fits, a parameter has an impossible value, or the data set cannot be
            encoded.
        TypeError
            If a parameter is of the wrong type.
        """
        return self._normalized(
            "N-ACTION", class_uid, instance_uid, msg_id, meta_uid, dataset, ActionTypeID=action_type
        )

    def send_n_create(
        self,
        dataset: Dataset | None,
        class_uid: str | UID,
        instance_uid: str | UID | None = None,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Reply:
        """Create a SOP instance (PS3.7 section 10.1.5).

        Parameters
        ----------
        dataset
            The Attribute List, or None.
        class_uid
            Affected SOP Class UID.
        instance_uid
            Affected SOP Instance UID, or None to have the peer choose one; the status tells which.
        msg_id, meta_uid
            As with `send_n_action`.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.
        attribute_list : pydicom.dataset.Dataset or None
            The Attribute List, which may be empty, with a status of success or warning.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As with `send_n_action`.
        """
        return self._normalized("N-CREATE", class_uid, instance_uid, msg_id, meta_uid, dataset)

    def send_n_delete(
        self,
        class_uid: str | UID,
        instance_uid: str | UID,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Dataset:
        """Delete a SOP instance (PS3.7 section 10.1.6).

        Parameters
        ----------
        class_uid, instance_uid, msg_id, meta_uid
            As with `send_n_action`.

        Returns
        -------
        pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As with `send_n_action`.
        """
        return self._normalized("N-DELETE", class_uid, instance_uid, msg_id, meta_uid)[0]

    def send_n_event_report(
        self,
        dataset: Dataset | None,
        event_type: int,
        class_uid: str | UID,
        instance_uid: str | UID,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Reply:
        """Report an event about a SOP instance (PS3.7 section 10.1.1); what an SCP sends to an SCU.

        Parameters
        ----------
        dataset
            The Event Information, or None.
        event_type
            Event Type ID, 0 to 65535.
        class_uid, instance_uid
            Affected SOP Class UID and Affected SOP Instance UID.
        msg_id, meta_uid
            As with `send_n_action`.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.
        event_reply : pydicom.dataset.Dataset or None
            The Event Reply, which may be empty, with a status of success or warning.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As with `send_n_action`.
        """
        return self._normalized(
            "N-EVENT-REPORT", class_uid, instance_uid, msg_id, meta_uid, dataset, EventTypeID=event_type
        )

    def send_n_get(
        self,
        identifier_list: Sequence[Any] | None,
        class_uid: str | UID,
        instance_uid: str | UID,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Reply:
        """Get attributes of a SOP instance (PS3.7 section 10.1.2).

        Parameters
        ----------
        identifier_list
            Tags in any form that `pydicom.tag.Tag` takes; none asks for all attributes.
        class_uid, instance_uid, msg_id, meta_uid
            As with `send_n_action`.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.
        attribute_list : pydicom.dataset.Dataset or None
            The Attribute List, which may be empty, with a status of success or warning.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As with `send_n_action`.
        """
        return self._normalized(
            "N-GET",
            class_uid,
            instance_uid,
            msg_id,
            meta_uid,
            AttributeIdentifierList=identifier_list or None,
        )

    def send_n_set(
        self,
        dataset: Dataset,
        class_uid: str | UID,
        instance_uid: str | UID,
        msg_id: int = 1,
        meta_uid: str | UID | None = None,
    ) -> Reply:
        """Modify attributes of a SOP instance (PS3.7 section 10.1.3).

        Parameters
        ----------
        dataset
            The Modification List.
        class_uid, instance_uid, msg_id, meta_uid
            As with `send_n_action`.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says, or empty if no valid response came.
        attribute_list : pydicom.dataset.Dataset or None
            The Attribute List, which may be empty, with a status of success or warning.

        Raises
        ------
        RuntimeError, ValueError, TypeError
            As with `send_n_action`.
        """
        return self._normalized("N-SET", class_uid, instance_uid, msg_id, meta_uid, dataset)


class AwaitedNormalizedServices:
    """The same with await, for `aio.Association`, which counts Message IDs itself."""

    @abstractmethod
    async def _normalized(
        self,
        service: str,
        class_uid: str,
        instance_uid: str | None,
        meta_uid: str | None,
        dataset: Dataset | None = None,
        **parameters: Any,
    ) -> Reply:
        """Send a request, see `normalized_request`, and give what `reply_of` makes of its response."""

    async def send_n_action(
        self,
        dataset: Dataset | None,
        action_type: int,
        class_uid: str,
        instance_uid: str,
        *,
        meta_uid: str | None = None,
    ) -> Reply:
        """Have an action performed on a SOP instance (PS3.7 section 10.1.4).

        Parameters
        ----------
        dataset
            The Action Information, or None.
        action_type
            Action Type ID, 0 to 65535.
        class_uid, instance_uid
            Requested SOP Class UID and Requested SOP Instance UID.
        meta_uid
            The SOP class of the presentation context, where that is not `class_uid` but one that stands for it, such
            as a meta SOP class.

        Returns
        -------
        status : pydicom.dataset.Dataset
            With Status and what else the response says.
        action_reply : pydicom.dataset.Dataset or None
            The Action Reply, which may be empty, with a status of success or warning.

        Raises
        ------
        ValueError, TypeError
            If no accepted presentation context fits, a parameter has an impossible value, or the data set cannot be
            encoded.
        AssociationError, NetworkError
            If the association is over, or ends.
        """
        return await self._normalized(
            "N-ACTION", class_uid, instance_uid, meta_uid, dataset, ActionTypeID=action_type
        )

    async def send_n_create(
        self,
        dataset: Dataset | None,
        class_uid: str,
        instance_uid: str | None = None,
        *,
        meta_uid: str | None = None,
    ) -> Reply:
        """Create a SOP instance (PS3.7 section 10.1.5). See the blocking one."""
        return await self._normalized("N-CREATE", class_uid, instance_uid, meta_uid, dataset)

    async def send_n_delete(
        self, class_uid: str, instance_uid: str, *, meta_uid: str | None = None
    ) -> Dataset:
        """Delete a SOP instance (PS3.7 section 10.1.6). See the blocking one."""
        return (await self._normalized("N-DELETE", class_uid, instance_uid, meta_uid))[0]

    async def send_n_event_report(
        self,
        dataset: Dataset | None,
        event_type: int,
        class_uid: str,
        instance_uid: str,
        *,
        meta_uid: str | None = None,
    ) -> Reply:
        """Report an event about a SOP instance (PS3.7 section 10.1.1). See the blocking one."""
        return await self._normalized(
            "N-EVENT-REPORT", class_uid, instance_uid, meta_uid, dataset, EventTypeID=event_type
        )

    async def send_n_get(
        self,
        identifier_list: Sequence[Any] | None,
        class_uid: str,
        instance_uid: str,
        *,
        meta_uid: str | None = None,
    ) -> Reply:
        """Get attributes of a SOP instance (PS3.7 section 10.1.2). See the blocking one."""
        tags = identifier_list or None
        return await self._normalized(
            "N-GET", class_uid, instance_uid, meta_uid, AttributeIdentifierList=tags
        )

    async def send_n_set(
        self, dataset: Dataset, class_uid: str, instance_uid: str, *, meta_uid: str | None = None
    ) -> Reply:
        """Modify attributes of a SOP instance (PS3.7 section 10.1.3). See the blocking one."""
        return await self._normalized("N-SET", class_uid, instance_uid, meta_uid, dataset)
