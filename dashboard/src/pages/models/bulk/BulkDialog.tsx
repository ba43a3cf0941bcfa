/** One command for many models: first what would come of it for each, then what does. */

import { Button, Modal, ModalBody, ModalFooter, ModalHeader, TextInput, FormGroup, Form } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useId, useState } from "react";

import type { Model } from "../../../api/queries";
import { ErrorAlert } from "../../../components/Failed";
import { scheduleProblems } from "../../../components/schedule/rules";
import { many } from "../../../components/quantities";
import { BulkOptions, startOptions } from "./BulkOptions";
import { ACTIONS, cancel, take, useBulk, useForecast, type Action, type Options } from "./order";
import { ItemTable, ProspectTable } from "./Outcomes";

export function BulkDialog({ action, models, close }: { action: Action; models: Model[]; close: () => void }) {
  const [options, choose] = useState<Options>(() => startOptions(action));
  const [typed, type] = useState("");
  const id = useId();
  const isComplete =
    (action !== "label" || Object.keys(options.labels ?? {}).length > 0) &&
    (!options.schedule || scheduleProblems(options.schedule).length === 0);
  const taking = useMutation({ mutationFn: () => take(action, models, options) });
  const forecast = useForecast(action, models, options, isComplete && !taking.isSuccess);
  const operation = useBulk(taking.data?.id ?? "").data ?? taking.data;
  const cancelling = useMutation({ mutationFn: () => cancel(operation?.id ?? "") });
  const doing = forecast.data?.filter((one) => one.does).length ?? 0;
  const { words, doing: verb } = ACTIONS[action];
  const isSure = action !== "delete" || typed === String(models.length);

  return (
    <Modal isOpen onClose={close} variant="large" aria-labelledby={`${id}-title`}>
      <ModalHeader
        labelId={`${id}-title`}
        title={operation ? `${verb} ${many(models.length, "model")}` : `${words} ${many(models.length, "model")}?`}
        {...(action === "delete" && !operation ? { titleIconVariant: "warning" as const } : {})}
      />
      <ModalBody>
        {operation ? (
          <ItemTable operation={operation} />
        ) : (
          <Form
            id={`${id}-form`}
            onSubmit={(event) => {
              event.preventDefault();
              if (doing > 0 && isSure) taking.mutate();
            }}
          >
            {taking.error && <ErrorAlert title="It was not taken" error={taking.error} />}
            <BulkOptions action={action} options={options} choose={choose} />
            <FormGroup label="Reason" fieldId={`${id}-reason`}>
              <TextInput
                id={`${id}-reason`}
                value={options.reason ?? ""}
                onChange={(_, reason) => choose({ ...options, reason })}
                placeholder="On record for everyone who asks why"
              />
            </FormGroup>
            {forecast.error && <ErrorAlert title="What would come of it is not known" error={forecast.error} />}
            <ProspectTable prospects={forecast.data} isLoading={forecast.isFetching} />
            {action === "delete" && (
              <FormGroup label={`Type ${models.length} to confirm`} fieldId={`${id}-sure`} isRequired>
                <TextInput id={`${id}-sure`} value={typed} onChange={(_, value) => type(value)} autoComplete="off" />
              </FormGroup>
            )}
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {operation ? (
          <>
            <Button onClick={close}>Close</Button>
            {!operation.done && (
              <Button variant="link" onClick={() => cancelling.mutate()} isLoading={cancelling.isPending}>
                Begin no more
              </Button>
            )}
          </>
        ) : (
          <>
            <Button
              type="submit"
              form={`${id}-form`}
              variant={action === "delete" ? "danger" : "primary"}
              isDisabled={doing === 0 || !isSure || taking.isPending}
              isLoading={taking.isPending}
            >
              {words} {doing > 0 ? doing : ""}
            </Button>
            <Button variant="link" onClick={close}>
              Cancel
            </Button>
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}
