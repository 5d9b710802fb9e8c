"""What functions are made of: images, mounts, volumes, secrets."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local_modal.service import Part, unary
from local_modal.state import Volume

BUILDER_VERSION = "2025.06"
METADATA = api_pb2.ImageMetadata(
    python_version_info="Python 3.11.7", image_builder_version=BUILDER_VERSION
)


class Objects(Part):
    """Calls on images, mounts, volumes and secrets."""

    @unary
    async def ImageGetOrCreate(
        self, request: api_pb2.ImageGetOrCreateRequest
    ) -> api_pb2.ImageGetOrCreateResponse:
        text = request.image.SerializeToString(deterministic=True)
        image_id = f"im-{hashlib.sha256(text).hexdigest()[:22]}"
        self.state.images[image_id] = request.image
        if self.world.faults.image_failure is not None:
            return api_pb2.ImageGetOrCreateResponse(image_id=image_id)  # Being built.
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id, result=success(), metadata=METADATA
        )

    async def ImageJoinStreaming(self, stream: Any) -> None:
        """The log of a build, then how it ended."""
        await stream.recv_message()
        failure = self.world.faults.image_failure
        if failure is None:
            await stream.send_message(
                api_pb2.ImageJoinStreamingResponse(
                    result=success(), metadata=METADATA, entry_id="1-0", eof=True
                )
            )
            return
        log = api_pb2.TaskLogs(data=failure.log, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDERR)
        await stream.send_message(
            api_pb2.ImageJoinStreamingResponse(task_logs=[log], entry_id="1-0")
        )
        status = api_pb2.GenericResult.GenericStatus.Value(f"GENERIC_STATUS_{failure.status}")
        result = api_pb2.GenericResult(status=status, exception=failure.exception)
        await stream.send_message(
            api_pb2.ImageJoinStreamingResponse(result=result, entry_id="2-0", eof=True)
        )

    @unary
    async def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [h for h in request.sha256_hex_hashes if not self.world.store.has(h)]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    @unary
    async def MountPutFile(
        self, request: api_pb2.MountPutFileRequest
    ) -> api_pb2.MountPutFileResponse:
        if request.WhichOneof("data_oneof") is not None:
            data = request.data
            if request.data_blob_id:
                data = self.state.blobs[request.data_blob_id]
            if hashlib.sha256(data).hexdigest() != request.sha256_hex:
                raise GRPCError(Status.INVALID_ARGUMENT, "The file does not have the hash named")
            self.world.store.put(request.sha256_hex, data)
        return api_pb2.MountPutFileResponse(exists=self.world.store.has(request.sha256_hex))

    @unary
    async def MountGetOrCreate(
        self, request: api_pb2.MountGetOrCreateRequest
    ) -> api_pb2.MountGetOrCreateResponse:
        # A mount by name is Modal's own (a Python for add_python): this machine's does for it.
        mount_id = self.state.new_id("mo")
        self.state.mounts[mount_id] = list(request.files)
        names = "".join(f"{f.filename}{f.sha256_hex}" for f in request.files)
        checksum = hashlib.sha256(names.encode()).hexdigest()
        return api_pb2.MountGetOrCreateResponse(
            mount_id=mount_id,
            handle_metadata=api_pb2.MountHandleMetadata(content_checksum_sha256_hex=checksum),
        )

    @unary
    async def VolumeGetOrCreate(
        self, request: api_pb2.VolumeGetOrCreateRequest
    ) -> api_pb2.VolumeGetOrCreateResponse:
        name = f"{request.environment_name or 'main'}/{request.deployment_name}"
        for volume in self.state.volumes.values():
            if request.deployment_name and volume.name == name:
                break
        else:
            if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise GRPCError(Status.NOT_FOUND, f"Volume {request.deployment_name!r} not found")
            volume = self._new_volume(name, request)
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=volume.volume_id, version=volume.metadata.version, metadata=volume.metadata
        )

    def _new_volume(self, name: str, request: api_pb2.VolumeGetOrCreateRequest) -> Volume:
        volume_id = self.state.new_id("vo")
        folder = self.state.folder / "volumes" / volume_id
        folder.mkdir(parents=True)
        metadata = api_pb2.VolumeMetadata(version=request.version, name=request.deployment_name)
        volume = Volume(volume_id, name, folder, metadata)
        self.state.volumes[volume_id] = volume
        return volume

    @unary
    async def VolumeHeartbeat(self, request: api_pb2.VolumeHeartbeatRequest) -> Empty:
        return Empty()

    @unary
    async def VolumeDelete(self, request: api_pb2.VolumeDeleteRequest) -> Empty:
        self.state.volumes.pop(request.volume_id, None)
        return Empty()

    @unary
    async def SecretGetOrCreate(
        self, request: api_pb2.SecretGetOrCreateRequest
    ) -> api_pb2.SecretGetOrCreateResponse:
        secret_id = self.state.new_id("st")
        self.state.secrets[secret_id] = dict(request.env_dict)
        metadata = api_pb2.SecretMetadata(name=request.deployment_name)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id, metadata=metadata)


def success() -> api_pb2.GenericResult:
    """The result of what went well."""
    return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
