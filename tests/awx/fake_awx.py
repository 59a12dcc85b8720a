# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of AWX's REST API that the modules of awx.awx use for the set-up.

It refuses the requests that AWX refuses, as far as the set-up could send them.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response

import rules

Item = dict[str, Any]

TOKEN = "awx-token"
"""The token of a system administrator."""
ADMIN_TOKEN = "awx-token-of-an-organization"
"""The token of an administrator of all existing organizations, without further rights."""
SECRET = "$encrypted$"
ROOT = "/api/v2"
# The default fields of an object, by kind.
DEFAULTS: dict[str, Item] = {
    "organizations": {"description": "", "default_environment": None},
    "execution_environments": {"description": "", "organization": None, "credential": None},
    "credential_types": {"description": "", "managed": False},
    "credentials": {"description": "", "organization": None, "inputs": {}},
    "projects": {"description": "", "credential": None, "scm_branch": "", "scm_revision": "", "scm_type": ""},
    "project_updates": {"status": "pending", "failed": False, "finished": None, "event_processing_finished": False},
    "inventories": {"description": "", "kind": "", "host_filter": None, "variables": ""},
    "inventory_sources": {"description": "", "source_vars": ""},
    "job_templates": {
        "description": "",
        "job_type": "run",
        "extra_vars": "---",
        "survey_enabled": False,
        "allow_simultaneous": False,
    },
    "workflow_job_templates": {"description": "", "extra_vars": "---", "organization": None},
    "workflow_job_template_nodes": {"unified_job_template": None, "extra_data": {}},
    "workflow_approval_templates": {"description": "", "timeout": 0},
    "schedules": {"description": "", "enabled": True, "extra_data": {}},
    "teams": {"description": ""},
    "labels": {},
    "hosts": {},
    "notification_templates": {},
    "roles": {},
}
# The roles of an object that teams may hold, by kind.
ROLES = {
    "job_templates": ("execute_role", "read_role"),
    "workflow_job_templates": ("execute_role", "approval_role", "read_role"),
}
# Kinds of objects without an organization, which an organization's administrator cannot make or change.
GLOBAL = ("credential_types", "execution_environments")
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
# The scope in which a name is unique.
SCOPES = {
    "credentials": ("organization", "credential_type"),
    "projects": ("organization",),
    "inventories": ("organization",),
    "inventory_sources": ("inventory",),
    "job_templates": ("organization",),
    "workflow_job_templates": ("organization",),
    "workflow_job_template_nodes": ("workflow_job_template",),
    "schedules": ("unified_job_template",),
    "teams": ("organization",),
    "labels": ("organization",),
    "hosts": ("inventory",),
    "notification_templates": ("organization",),
}
# Kinds of objects whose names need not be unique.
UNNAMED = ("workflow_approval_templates", "project_updates", "roles")
REQUIRED = {
    "credentials": ("credential_type", "organization"),
    "projects": ("organization", "scm_url"),
    "inventories": ("organization",),
    "inventory_sources": ("inventory", "source", "source_project", "source_path"),
    "job_templates": ("organization", "project", "inventory", "playbook"),
    "workflow_job_template_nodes": ("workflow_job_template", "identifier"),
    "schedules": ("unified_job_template", "rrule"),
}


def refuse(**errors: Any) -> HTTPException:
    """An answer 400 with an error for each field."""
    return HTTPException(400, errors)


class FakeAwx:
    """A context manager: a new AWX, with the objects that each AWX has, answers at ``url``."""

    def __init__(self, project: Path) -> None:
        self.project = project
        """The folder that a project update finds in the repository."""
        self.items: dict[int, Item] = {}
        self.surveys: dict[int, Item] = {}
        self.associations: dict[tuple[int, str], list[int]] = {}
        self.secrets: dict[int, Item] = {}
        """The inputs of credentials in clear, by id."""
        self.unreachable = ""
        """Why no project can be updated; empty if each can."""
        self.url = ""
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="error", lifespan="off", ws="none"))
        machine = {"fields": [{"id": "ssh_key_data", "secret": True}, {"id": "username"}]}
        self._add("credential_types", {"name": "Machine", "kind": "ssh", "inputs": machine, "managed": True})
        kind = self._add("credential_types", {"name": "Galaxy", "kind": "galaxy", "inputs": {}, "managed": True})
        self._add("credentials", {"name": "Ansible Galaxy", "credential_type": kind["id"]})

    def __enter__(self) -> FakeAwx:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serve = self._server.serve(sockets=[listener])
        self._thread = threading.Thread(target=lambda: asyncio.run(serve), name="awx", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def all(self, kind: str) -> list[Item]:
        """The objects of a kind, in the order in which they were made."""
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        return [item for item in self.items.values() if item["kind_"] in kinds]

    def one(self, kind: str, name: str) -> Item:
        """The object of that name (for nodes: identifier)."""
        (item,) = [item for item in self.all(kind) if name in (item.get("name"), item.get("identifier"))]
        return item

    def names(self, item: Item, association: str) -> list[str]:
        """The names of the objects that are associated with an object."""
        found = [self.items[each] for each in self.associations.get((item["id"], association), [])]
        return [each.get("identifier") or each["name"] for each in found]

    def make(self, kind: str, /, **data: Any) -> Item:
        """Make an object, as an operator does by hand."""
        return self._add(kind, data)

    def associate(self, item: Item, association: str, other: Item) -> None:
        """Associate an object with another one, as an operator does by hand."""
        self._associate(item, association, {"id": other["id"]})

    # The objects

    def _add(self, kind: str, data: Item) -> Item:
        number = len(self.items) + 1
        item = {**DEFAULTS[kind], **data, "id": number, "kind_": kind, "url": f"{ROOT}/{kind}/{number}/"}
        item["type"] = {"inventories": "inventory"}.get(kind, kind.removesuffix("s"))
        self._validate(item)
        self.items[number] = item
        for role in ROLES.get(kind, ()):
            self._add("roles", {"name": role, "object": number})
        if kind == "projects":
            self._update_project(item)
        return item

    def _change(self, item: Item, data: Item) -> None:
        changed = {**item, **{key: value for key, value in data.items() if key != "type"}}
        in_use = [each for each in self.all("credentials") if each["credential_type"] == item["id"]]
        if item["kind_"] == "credential_types" and in_use and changed["inputs"] != item["inputs"]:
            raise HTTPException(403, {"detail": "Modifications to inputs are not allowed for types that are in use"})
        self._validate(changed)
        item.update(changed)

    def _update_project(self, project: Item) -> Item:
        """Start an update of the project. It ends after it was first shown (`_look`)."""
        return self._add("project_updates", {"name": project["name"], "project": project["id"], "scm_revision": ""})

    def _look(self, update: Item) -> Item:
        """Return a project update as it is now, and let it end."""
        shown = self._show(update)
        if update["finished"] is None:
            status = "failed" if self.unreachable else "successful"
            update |= {"status": status, "failed": bool(self.unreachable), "finished": "2026-01-01T03:00:00Z"}
            update["event_processing_finished"] = True
            if not self.unreachable:
                update["scm_revision"] = self.items[update["project"]]["scm_revision"] = "abc"
        return shown

    def _validate(self, item: Item) -> None:
        kind = item["kind_"]
        for field in REQUIRED.get(kind, ()) if item.get("name") != "Ansible Galaxy" else ():
            if item.get(field) in (None, ""):
                raise refuse(**{field: ["This field is required."]})
        scope = ("name", "identifier", *SCOPES.get(kind, ()))
        if kind not in UNNAMED and any(
            other["id"] != item["id"] and all(other.get(key) == item.get(key) for key in scope)
            for other in self.all(kind)
        ):
            raise refuse(__all__=[f"{kind} with this name already exists."])
        check = getattr(self, f"_validate_{kind}", None)
        if check is not None:
            check(item)

    def _validate_credentials(self, item: Item) -> None:
        fields = {each["id"]: each for each in self.items[item["credential_type"]]["inputs"].get("fields", [])}
        unknown = set(item["inputs"]) - set(fields)
        if unknown:
            raise refuse(inputs=[f"Additional properties are not allowed ({unknown})"])
        # An input that is not given is removed. The mark in place of a secret keeps the secret.
        before = self.secrets.get(item["id"], {})
        given = {key: before.get(key) if value == SECRET else value for key, value in item["inputs"].items()}
        self.secrets[item["id"]] = given
        item["inputs"] = {key: SECRET if fields[key].get("secret") else value for key, value in item["inputs"].items()}

    def _validate_inventory_sources(self, item: Item) -> None:
        if self.items[item["source_project"]]["scm_type"] == "":
            raise refuse(source_project=["Cannot use manual project for SCM-based inventory."])
        if not (self.project / item["source_path"]).is_file():
            raise refuse(source_path=["There is no such file in the project."])
        credential = self.items.get(item.get("credential") or 0)
        if credential and self.items[credential["credential_type"]]["kind"] != "cloud":
            raise refuse(credential=["Such credentials are disallowed for scm inventory sources."])

    def _validate_job_templates(self, item: Item) -> None:
        # AWX knows the playbooks of a project only once it has been updated.
        if not self.items[item["project"]]["scm_revision"] or not (self.project / item["playbook"]).is_file():
            raise refuse(playbook=["Playbook not found for project."])

    def _validate_schedules(self, item: Item) -> None:
        if not re.match(r"DTSTART(;TZID=[^:]+)?:\d{8}T\d{6}Z? RRULE:.*INTERVAL=", item["rrule"]):
            raise refuse(rrule=["DTSTART and INTERVAL required in rrule."])
        survey = self.surveys.get(item["unified_job_template"])
        try:
            rules.accept(survey or {"spec": []}, item["extra_data"])
        except ValueError as error:
            raise refuse(extra_data=[str(error)]) from None

    # The objects as the API shows them

    def _show(self, item: Item) -> Item:
        related = {name: f"{item['url']}{name}/" for name in ("survey_spec", "update")}
        if item.get("unified_job_template"):
            related["unified_job_template"] = self.items[item["unified_job_template"]]["url"]
        own = {
            f"{name}_nodes": self.associations.get((item["id"], f"{name}_nodes"), [])
            for name in ("success", "failure", "always")
            if item["kind_"] == "workflow_job_template_nodes"
        }
        roles = {each["name"]: {"id": each["id"]} for each in self.all("roles") if each["object"] == item["id"]}
        return {"summary_fields": {"object_roles": roles}, **item, **own, "related": related}

    def _field(self, item: Item, name: str) -> str:
        """The value of a field for a search, which may be a related object's (organization__name)."""
        first, _mark, rest = name.partition("__")
        if rest:
            other = self.items.get(item.get(first) or 0)
            return self._field(other, rest) if other else ""
        return str(item.get(first, ""))

    # Permissions

    def _may(self, token: str, method: str, path: list[str]) -> bool:
        """Whether a token permits the request."""
        makes_organization = method == "POST" and path == ["organizations"]
        return token == TOKEN or method == "GET" or (path[0] not in GLOBAL and not makes_organization)

    def _list(self, found: list[Item]) -> Item:
        return {"count": len(found), "next": None, "results": [self._show(item) for item in found]}

    def _associate(self, item: Item, association: str, data: Item) -> None:
        ids = self.associations.setdefault((item["id"], association), [])
        if data.get("disassociate"):
            ids.remove(data["id"])
            return
        other = self.items[data["id"]]
        if association == "galaxy_credentials" and self.items[other["credential_type"]]["kind"] != "galaxy":
            raise refuse(msg="Credential must be a Galaxy credential.")
        if association == "credentials" and other["credential_type"] in [
            self.items[each]["credential_type"] for each in ids
        ]:
            raise refuse(error="Cannot assign multiple credentials of one type.")
        if association.endswith("_nodes") and other["workflow_job_template"] != item["workflow_job_template"]:
            raise refuse(Error="Relationship not allowed.")
        ids.append(data["id"])

    # The paths

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)

        @app.middleware("http")
        async def authenticate(request: Request, call_next: Any) -> Response:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in (TOKEN, ADMIN_TOKEN):
                return JSONResponse({"detail": "Authentication credentials were not provided."}, 401)
            if not self._may(token, request.method, request.url.path.removeprefix(ROOT).strip("/").split("/")):
                return JSONResponse({"detail": "You do not have permission to perform this action."}, 403)
            response: Response = await call_next(request)
            response.headers["X-API-Product-Name"], response.headers["X-API-Product-Version"] = "AWX", "24.6.1"
            return response

        @app.exception_handler(HTTPException)
        async def explain(_request: Request, error: HTTPException) -> Response:
            return JSONResponse(error.detail, error.status_code)

        def found(kind: str, number: int) -> Item:
            item = self.items.get(number)
            if item is None or item["kind_"] != kind:
                raise HTTPException(404, {"detail": "Not found."})
            return item

        @app.get(ROOT + "/project_updates/{number}/")
        def project_update(number: int) -> Item:
            return self._look(found("project_updates", number))

        @app.get(ROOT + "/project_updates/{number}/events/")
        def events(number: int, request: Request) -> Item:
            kind = "runner_on_failed"
            failed = self.items[number]["failed"] and kind in request.query_params["event__in"].split(",")
            stdout = f"\x1b[0;31mfatal: [localhost]: FAILED! => {self.unreachable}\x1b[0m"
            return {"count": 1, "next": None, "results": [{"event": kind, "stdout": stdout}] if failed else []}

        @app.post(ROOT + "/projects/{number}/update/", status_code=202)
        def update_project(number: int) -> Item:
            return self._show(self._update_project(found("projects", number)))

        @app.get(ROOT + "/projects/{number}/playbooks/")
        def playbooks(number: int) -> list[str]:
            known = bool(found("projects", number)["scm_revision"])
            return sorted(file.name for file in self.project.glob("*.yml")) if known else []

        @app.get(ROOT + "/{kind}/")
        def search(kind: str, request: Request) -> Item:
            wanted = dict(request.query_params)
            unwanted = {
                name.removeprefix("not__"): wanted.pop(name) for name in list(wanted) if name.startswith("not__")
            }
            either = {name.removeprefix("or__"): wanted.pop(name) for name in list(wanted) if name.startswith("or__")}

            def has(item: Item, asked: dict[str, str]) -> list[bool]:
                return [self._field(item, field) == value for field, value in asked.items()]

            known = [item for item in self.all(kind) if all(has(item, wanted)) and not any(has(item, unwanted))]
            return self._list([item for item in known if not either or any(has(item, either))])

        @app.post(ROOT + "/{kind}/", status_code=201)
        async def create(kind: str, request: Request) -> Item:
            return self._show(self._add(kind, json.loads(await request.body())))

        @app.get(ROOT + "/{kind}/{number}/")
        def read(kind: str, number: int) -> Item:
            return self._show(found(kind, number))

        @app.patch(ROOT + "/{kind}/{number}/")
        async def change(kind: str, number: int, request: Request) -> Item:
            self._change(found(kind, number), json.loads(await request.body()))
            return self._show(self.items[number])

        @app.get(ROOT + "/{kind}/{number}/survey_spec/")
        def survey(kind: str, number: int) -> Item:
            return self.surveys.get(found(kind, number)["id"], {})

        @app.post(ROOT + "/{kind}/{number}/survey_spec/")
        async def set_survey(kind: str, number: int, request: Request) -> Item:
            self.surveys[found(kind, number)["id"]] = json.loads(await request.body())
            return {}

        @app.post(ROOT + "/workflow_job_template_nodes/{number}/create_approval_template/", status_code=201)
        async def create_approval(number: int, request: Request) -> Item:
            node = found("workflow_job_template_nodes", number)
            approval = self._add("workflow_approval_templates", json.loads(await request.body()))
            node["unified_job_template"] = approval["id"]
            return self._show(approval)

        @app.get(ROOT + "/{kind}/{number}/{association}/")
        def associated(kind: str, number: int, association: str) -> Item:
            if association.endswith("_nodes") and kind != "workflow_job_template_nodes":
                raise HTTPException(404, {"detail": "Not found."})
            ids = self.associations.get((found(kind, number)["id"], association), [])
            return self._list([self.items[each] for each in ids])

        @app.post(ROOT + "/{kind}/{number}/{association}/", status_code=204)
        async def associate(kind: str, number: int, association: str, request: Request) -> Response:
            self._associate(found(kind, number), association, json.loads(await request.body()))
            return Response(status_code=204)

        return app
