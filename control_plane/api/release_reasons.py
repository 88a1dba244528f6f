"""Why no rollout or evacuation was taken up, paused or stopped: reasons on the wire, and what they mean."""

from enum import StrEnum

from contract.reasons import Meaning


class ReleaseProblem(StrEnum):
    ROLLOUT_MUST_EXIST = "rollout_must_exist"
    ROLLOUT_MUST_NOT_HAVE_ENDED = "rollout_must_not_have_ended"
    ROLLOUT_MUST_BE_POSSIBLE_HERE = "rollout_must_be_possible_here"
    ROLLOUT_EXISTS_WITH_DIFFERENT_RELEASE = "rollout_exists_with_different_release"
    ANOTHER_ROLLOUT_MUST_HAVE_ENDED = "another_rollout_must_have_ended"
    EVACUATION_MUST_HAVE_ENDED = "evacuation_must_have_ended"
    CELLS_MUST_BE_THERE = "cells_must_be_there"
    CANARY_MUST_BE_A_SERVING_CELL = "canary_must_be_a_serving_cell"
    CELLS_MUST_TELL_WHAT_THEY_RUN = "cells_must_tell_what_they_run"
    RELEASE_MUST_BE_KNOWN = "release_must_be_known"
    RELEASE_MUST_BE_ANOTHER = "release_must_be_another"
    SCHEMA_MUST_NOT_GO_BACK = "schema_must_not_go_back"
    SCHEMA_MUST_ALLOW_THE_WAY_BACK = "schema_must_allow_the_way_back"
    RELEASE_MUST_BE_CERTIFIED = "release_must_be_certified"
    RELEASE_MUST_CARRY_AS_MUCH = "release_must_carry_as_much"
    EVACUATION_MUST_EXIST = "evacuation_must_exist"
    EVACUATION_EXISTS_WITH_DIFFERENT_ZONE = "evacuation_exists_with_different_zone"
    ANOTHER_EVACUATION_MUST_HAVE_ENDED = "another_evacuation_must_have_ended"
    ZONE_MUST_BE_KNOWN = "zone_must_be_known"
    CELLS_MUST_SERVE_IN_ANOTHER_ZONE = "cells_must_serve_in_another_zone"
    INSTALLATION_MUST_BE_POSSIBLE_HERE = "installation_must_be_possible_here"
    OBJECTS_MUST_BE_OF_THE_CHART = "objects_must_be_of_the_chart"
    OBJECTS_MUST_BE_OF_THE_CELL = "objects_must_be_of_the_cell"
    ZONES_MUST_BE_THREE_OR_MORE = "zones_must_be_three_or_more"
    PROCESSES_MUST_LEAVE_HEADROOM = "processes_must_leave_headroom"
    IMAGE_MUST_NAME_ITS_CONTENT = "image_must_name_its_content"
    IMAGE_MUST_BE_THE_ONE_THAT_RUNS = "image_must_be_the_one_that_runs"
    FIELDS_MUST_HAVE_ONE_OWNER = "fields_must_have_one_owner"
    CLUSTER_MUST_ACCEPT = "cluster_must_accept"
    CLUSTER_MUST_ANSWER = "cluster_must_answer"


RELEASE_MEANINGS: dict[ReleaseProblem, Meaning] = {
    ReleaseProblem.ROLLOUT_MUST_EXIST: Meaning(status=404, retry="never", title="The rollout must exist"),
    ReleaseProblem.ROLLOUT_MUST_NOT_HAVE_ENDED: Meaning(
        status=409, retry="never", title="The rollout must not have ended, nor be on its way back"
    ),
    ReleaseProblem.ROLLOUT_MUST_BE_POSSIBLE_HERE: Meaning(
        status=409, retry="never", title="The control plane must know what carries its cells"
    ),
    ReleaseProblem.ROLLOUT_EXISTS_WITH_DIFFERENT_RELEASE: Meaning(
        status=409, retry="never", title="The rollout exists with a different release"
    ),
    ReleaseProblem.ANOTHER_ROLLOUT_MUST_HAVE_ENDED: Meaning(
        status=409, retry="same_id", title="Another rollout must have ended"
    ),
    ReleaseProblem.EVACUATION_MUST_HAVE_ENDED: Meaning(
        status=409, retry="same_id", title="The evacuation of a zone must have ended"
    ),
    ReleaseProblem.CELLS_MUST_BE_THERE: Meaning(status=409, retry="same_id", title="There must be cells to update"),
    ReleaseProblem.CANARY_MUST_BE_A_SERVING_CELL: Meaning(
        status=409, retry="never", title="The canary must be a cell that serves"
    ),
    ReleaseProblem.CELLS_MUST_TELL_WHAT_THEY_RUN: Meaning(
        status=503, retry="same_id", title="Every cell must tell what it runs"
    ),
    ReleaseProblem.RELEASE_MUST_BE_KNOWN: Meaning(
        status=409, retry="never", title="The release must be known to what carries the cells"
    ),
    ReleaseProblem.RELEASE_MUST_BE_ANOTHER: Meaning(
        status=409, retry="never", title="The release must be another than the one that runs"
    ),
    ReleaseProblem.SCHEMA_MUST_NOT_GO_BACK: Meaning(
        status=409, retry="never", title="The release must know the schema that the cells have"
    ),
    ReleaseProblem.SCHEMA_MUST_ALLOW_THE_WAY_BACK: Meaning(
        status=409, retry="never", title="What runs now must work with the schema that the release makes"
    ),
    ReleaseProblem.RELEASE_MUST_BE_CERTIFIED: Meaning(
        status=409, retry="never", title="It must be known what the release carries"
    ),
    ReleaseProblem.RELEASE_MUST_CARRY_AS_MUCH: Meaning(
        status=409, retry="never", title="The release must carry as much as what runs"
    ),
    ReleaseProblem.EVACUATION_MUST_EXIST: Meaning(status=404, retry="never", title="The evacuation must exist"),
    ReleaseProblem.EVACUATION_EXISTS_WITH_DIFFERENT_ZONE: Meaning(
        status=409, retry="never", title="The evacuation exists with a different zone"
    ),
    ReleaseProblem.ANOTHER_EVACUATION_MUST_HAVE_ENDED: Meaning(
        status=409, retry="same_id", title="Another evacuation must have ended"
    ),
    ReleaseProblem.ZONE_MUST_BE_KNOWN: Meaning(status=404, retry="never", title="The zone must be one of a cell"),
    ReleaseProblem.CELLS_MUST_SERVE_IN_ANOTHER_ZONE: Meaning(
        status=409, retry="same_id", title="Every cell must have processes in another zone"
    ),
    ReleaseProblem.INSTALLATION_MUST_BE_POSSIBLE_HERE: Meaning(
        status=409, retry="never", title="The control plane must know what carries its cells"
    ),
    ReleaseProblem.OBJECTS_MUST_BE_OF_THE_CHART: Meaning(
        status=422, retry="never", title="The objects must be what the chart makes of a cell"
    ),
    ReleaseProblem.OBJECTS_MUST_BE_OF_THE_CELL: Meaning(
        status=422, retry="never", title="The objects must be of the cell that is named"
    ),
    ReleaseProblem.ZONES_MUST_BE_THREE_OR_MORE: Meaning(
        status=422, retry="never", title="A cell must have processes in three zones or more"
    ),
    ReleaseProblem.PROCESSES_MUST_LEAVE_HEADROOM: Meaning(
        status=422, retry="never", title="Each zone must have as many processes as headroom says"
    ),
    ReleaseProblem.IMAGE_MUST_NAME_ITS_CONTENT: Meaning(
        status=422, retry="never", title="The image must be named by a digest"
    ),
    ReleaseProblem.IMAGE_MUST_BE_THE_ONE_THAT_RUNS: Meaning(
        status=409, retry="never", title="A cell that is there must keep its version: rollouts bring others"
    ),
    ReleaseProblem.FIELDS_MUST_HAVE_ONE_OWNER: Meaning(
        status=409, retry="never", title="No field of an object may have two owners"
    ),
    ReleaseProblem.CLUSTER_MUST_ACCEPT: Meaning(
        status=409, retry="same_id", title="What carries the cells must accept the objects"
    ),
    ReleaseProblem.CLUSTER_MUST_ANSWER: Meaning(
        status=503, retry="same_id", title="What carries the cells must answer"
    ),
}
