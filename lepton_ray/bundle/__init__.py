"""The artefact: model, plan, features, schema and receipt in one folder, loaded without unpickling."""
