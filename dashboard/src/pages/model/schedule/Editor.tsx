/** A schedule being edited: nothing of it is the server's before it is saved, and nobody's change is lost to another's. */

import { ActionGroup, Alert, Button, Form } from "@patternfly/react-core";
import { useState } from "react";

import { ApiError } from "../../../api/client";
import type { Model } from "../../../api/queries";
import { ErrorAlert } from "../../../components/Failed";
import { notify } from "../../../components/notices";
import { scheduleProblems, type SaveSchedule } from "../../../components/schedule/rules";
import { ScheduleForm } from "../../../components/schedule/ScheduleForm";
import { useSave, type Schedule } from "./data";
import { ReasonField } from "../../../components/FormDialog";

interface Props {
  model: Model;
  draft: SaveSchedule;
  /** The version that the draft was made from; null: there was none. */
  version: number | null;
  /** As it is on the server now. */
  saved: Schedule | null;
  edit: (draft: SaveSchedule) => void;
  isEdited: boolean;
  /** Forget the draft. */
  leave: () => void;
}

export function Editor({ model, draft, version, saved, edit, isEdited, leave }: Props) {
  const [reason, setReason] = useState("");
  const saving = useSave(model);
  const isWrong = scheduleProblems(draft).length > 0;
  const save = (over: number | null) =>
    saving.mutate(
      { schedule: { ...draft, reason }, version: over },
      {
        onSuccess: () => {
          notify("success", `The schedule of ${model.name} is saved`, "It acts from its next time on.");
          setReason("");
          leave();
        },
      },
    );
  const error = saving.error;
  const isOvertaken = error instanceof ApiError && error.status === 412;
  const fields = error instanceof ApiError ? error.fields : [];
  return (
    <Form
      onSubmit={(event) => {
        event.preventDefault();
        if (!isWrong) save(version);
      }}
    >
      <ScheduleForm
        value={draft}
        onChange={(next) => {
          saving.reset();
          edit(next);
        }}
        errors={fields}
      />
      <ReasonField reason={reason} write={setReason} />
      {isOvertaken ? (
        <Alert
          variant="warning"
          isInline
          role="alert"
          component="h3"
          title="Somebody else has changed it meanwhile"
          actionLinks={
            <>
              <Button
                variant="link"
                isInline
                onClick={() => {
                  saving.reset();
                  leave();
                }}
              >
                Look at theirs
              </Button>
              <Button variant="link" isInline isDisabled={isWrong} onClick={() => save(saved?.version ?? null)}>
                Save mine over it
              </Button>
            </>
          }
        >
          {saved
            ? `${saved.last_update.by} saved it. Yours is not saved yet.`
            : "It was removed. Yours is not saved yet."}
        </Alert>
      ) : (
        error && <ErrorAlert title="It was not saved" error={error} />
      )}
      <ActionGroup>
        <Button
          type="submit"
          isDisabled={isWrong || saving.isPending || (saved !== null && !isEdited)}
          isLoading={saving.isPending}
        >
          Save
        </Button>
        {(isEdited || saved === null) && (
          <Button variant="link" onClick={leave}>
            {saved === null ? "Cancel" : "Undo my changes"}
          </Button>
        )}
      </ActionGroup>
    </Form>
  );
}
