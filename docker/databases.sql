-- PostgreSQL's image makes the database prefect; each server needs one of its own.
create database mlflow;
