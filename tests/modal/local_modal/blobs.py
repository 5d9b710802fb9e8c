"""Large arguments and results: an id by call, the bytes by HTTP."""

from __future__ import annotations

import hashlib

from aiohttp import web
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local_modal.service import Part, unary
from local_modal.world import World


class Blobs(Part):
    """Calls that lead to addresses for the bytes."""

    @unary
    async def BlobCreate(self, request: api_pb2.BlobCreateRequest) -> api_pb2.BlobCreateResponse:
        most = self.world.faults.max_blob_bytes
        if request.content_length > most:
            text = f"Object of {request.content_length} bytes is larger than the limit of {most}"
            raise GRPCError(Status.INVALID_ARGUMENT, text)
        blob_id = self.state.new_id("bl")
        return api_pb2.BlobCreateResponse(
            blob_ids=[blob_id],
            upload_urls=api_pb2.UploadUrlList(items=[f"{self.world.blob_url}/{blob_id}"]),
        )

    @unary
    async def BlobGet(self, request: api_pb2.BlobGetRequest) -> api_pb2.BlobGetResponse:
        if request.blob_id not in self.state.blobs:
            raise GRPCError(Status.NOT_FOUND, f"Blob {request.blob_id} not found")
        return api_pb2.BlobGetResponse(download_url=f"{self.world.blob_url}/{request.blob_id}")


def blob_routes(world: World) -> list[web.RouteDef]:
    """Where the bytes are put and got."""

    async def put(request: web.Request) -> web.Response:
        data = await request.read()
        world.state.blobs[request.match_info["blob"]] = data
        return web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

    async def get(request: web.Request) -> web.Response:
        data = world.state.blobs.get(request.match_info["blob"])
        return web.Response(status=404) if data is None else web.Response(body=data)

    return [web.put("/blob/{blob}", put), web.get("/blob/{blob}", get)]
